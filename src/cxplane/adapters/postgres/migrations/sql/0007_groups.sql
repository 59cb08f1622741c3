-- Writes of one batch that touch nothing in common are added together.

-- The requests whose claims and reservations some entries give back.
create function cxplane.freed_by(entries jsonb) returns text[] language sql immutable parallel safe
return array(select coalesce(x -> 'b' ->> 'request', x ->> 's') from jsonb_array_elements(entries) x
    where cxplane.frees(x ->> 'k', x -> 'b'));

-- Many writes in one commit, in groups: those of one group touch nothing in common, so each is checked as if it were alone, and
-- the entries of all that pass are added in one statement. Groups are checked and folded in turn, so that two writes of one batch
-- compete as two of two batches would. (`if f() is null`: a call without a statement of its own, which would cost as much again.)
--
-- `batch`: [{t: tenant, f: [run, epoch], i: whether the run rests, v: [customer, conversation, version], g: new signal, u: [new run, journey, key],
--            y: [ids of keys], n: new request, x: [request, status], c: [action, key, request],
--            o: [ids of approvals that must be open],
--            r: [[budget, scope, span, money, count, risk, limit money, limit count, limit risk, force]],
--            e: [{k: kind, s: stream, a: at, r: actor, l: release, c: cause, t: takes, b: body, p: private}]}]
-- `ends`: the last write of each group, counted from 1; null: each is a group of its own.
-- `names`: what the batch may change, one text each: locked in one order everywhere, so planes never deadlock.
-- `settling`: requests whose reservations may be given back or whose undone request changes: (tenants, ids).
-- `calling`: signals that may reach runs: (tenants, types, keys).
-- `sealing`: keys that seal personal data of the batch: (tenants, ids). Each write names its own in `y`.
-- One answer a write, in order: {"p": [positions], "w"?: a run was woken, "m"?: mail waits for it, "s"?: runs a signal reached}
--    | {"fenced": run} | {"changed": customer} | {"signal": id} | {"run": id} | {"taken": id} | {"moved": [id, status]} | {"key": [request, input_hash]}
--    | {"budget": [budget, limit, used, asked, allowed]} | {"gone": [ids of keys that were destroyed meanwhile]}
create function cxplane.append(batch jsonb, names text[], settling_tenants text[], settling_ids text[],
    calling_tenants text[], calling_types text[], calling_keys text[], sealing_tenants text[], sealing_ids text[], ends int[])
returns setof jsonb language plpgsql as $$
declare
    locks int[];
    one int;
    w jsonb;
    wt text;
    standing text;
    freed text[];
    holder text;
    answer jsonb;
    answers jsonb[] := '{}';
    first int := 1;
    last int;
    n int;
    good int[];
    at_good int;
    left_of int;
    e cxplane.entry;
    asked cxplane.entry;
    release_hash text;
    release_id int;
    positions jsonb;
    reach int;
    reached int;
    woke boolean;
    other text;
    gone text[];
begin
    if cardinality(settling_ids) > 0 then
        select names || coalesce(array_agg(n.name), '{}') into names
        from unnest(settling_tenants, settling_ids) as s (tenant, id)
        cross join lateral (select * from cxplane.request where tenant = s.tenant and id = s.id offset 0) q
        cross join lateral (
            select 'r|' || q.tenant || '|' || q.undoes as name where q.undoes is not null
            union all
            select 'r|' || q.tenant || '|' || q.run where q.run is not null
            union all
            select 'k|' || q.tenant || '|' || q.action || '|' || q.key where q.key is not null
            union all
            select 'b|' || q.tenant || '|' || (v ->> 0) || '|' || (v ->> 1) || '|' || (v ->> 2)
            from jsonb_array_elements(q.reserved) v
        ) n;
    end if;
    if cardinality(calling_types) > 0 then
        select names || coalesce(array_agg('r|' || l.tenant || '|' || l.run), '{}') into names
        from unnest(calling_tenants, calling_types, calling_keys) as c (tenant, type, key)
        join cxplane.listen l on l.tenant = c.tenant and l.type = c.type and l.key = c.key;
    end if;
    select array_agg(distinct hashtext(name) order by hashtext(name)) into locks from unnest(names) name;
    foreach one in array coalesce(locks, '{}') loop
        if pg_advisory_xact_lock(1668313452, one) is null then
        end if;
    end loop;
    if cardinality(sealing_ids) > 0 then
        perform cxplane.lock_keys(sealing_tenants, sealing_ids, false);
        -- in a new snapshot: whoever destroyed one has committed by now
        select array_agg(s.id) into gone from unnest(sealing_tenants, sealing_ids) as s (tenant, id)
            where not exists (select from cxplane.subject_key k
                where k.tenant = s.tenant and k.id = s.id and k.wrapped is not null);
    end if;
    -- tells readers that positions from here on may still be on their way (see settled)
    perform pg_advisory_xact_lock_shared(1668313453, (last_value & 2147483647)::int) from cxplane.entry_position;

    foreach last in array coalesce(ends, array(select generate_series(1, jsonb_array_length(batch)))) loop
        good := '{}';
        for n in first .. last loop
            w := batch -> (n - 1);
            wt := w ->> 't';
            if gone is not null and (w -> 'y') ?| gone then
                answers[n] := jsonb_build_object('gone', w -> 'y');
                continue;
            end if;
            if w ? 'f' then
                perform 1 from cxplane.mailbox where tenant = wt and stream = w -> 'f' ->> 0
                    and epoch = (w -> 'f' ->> 1)::bigint for no key update;
                if not found then
                    answers[n] := jsonb_build_object('fenced', w -> 'f' -> 0);
                    continue;
                end if;
            end if;
            if w ? 'v' then
                select concat(
                    (select xmin from cxplane.customer where tenant = wt and id = w -> 'v' ->> 0), '/',
                    (select xmin from cxplane.conversation where tenant = wt and id = w -> 'v' ->> 1)) into other;
                if other is distinct from w -> 'v' ->> 2 then
                    answers[n] := jsonb_build_object('changed', w -> 'v' -> 0);
                    continue;
                end if;
            end if;
            if w ? 'g' then
                perform 1 from cxplane.signal where tenant = wt and id = w ->> 'g';
                if found then
                    answers[n] := jsonb_build_object('signal', w -> 'g');
                    continue;
                end if;
            end if;
            if w ? 'u' then
                select id into other from cxplane.run where tenant = wt and (id = w -> 'u' ->> 0 or (
                    w -> 'u' ->> 2 is not null and journey = w -> 'u' ->> 1 and key = w -> 'u' ->> 2
                    and status not in ('done', 'failed', 'cancelled'))) order by (id = w -> 'u' ->> 0) desc limit 1;
                if found then
                    answers[n] := jsonb_build_object('run', other);
                    continue;
                end if;
            end if;
            if w ? 'n' then
                perform 1 from cxplane.request where tenant = wt and id = w ->> 'n';
                if found then
                    answers[n] := jsonb_build_object('taken', w -> 'n');
                    continue;
                end if;
            end if;
            if w ? 'x' then
                select status into standing from cxplane.request where tenant = wt and id = w -> 'x' ->> 0;
                if not found or standing is distinct from w -> 'x' ->> 1 then
                    answers[n] := jsonb_build_object('moved', jsonb_build_array(w -> 'x' -> 0, standing));
                    continue;
                end if;
            end if;
            if w ? 'o' then
                perform 1 from jsonb_array_elements_text(w -> 'o') o
                    where not exists (select from cxplane.approval where tenant = wt and id = o and status = 'open');
                if found then
                    answers[n] := jsonb_build_object('moved',
                        jsonb_build_array(coalesce(w -> 'x' -> 0, w -> 'o' -> 0), 'decided'));
                    continue;
                end if;
            end if;
            if w ? 'c' then
                select request into holder from cxplane.claim
                    where id = cxplane.claim_id(wt, w -> 'c' ->> 0, w -> 'c' ->> 1) and tenant = wt;
                if found and holder <> w -> 'c' ->> 2 and holder is distinct from w -> 'x' ->> 0
                        and holder <> all (cxplane.freed_by(w -> 'e')) then
                    answers[n] := jsonb_build_object('key', jsonb_build_array(holder, coalesce(
                        (select input_hash from cxplane.request where tenant = wt and id = holder), '')));
                    continue;
                end if;
            end if;
            if w ? 'r' then
                answer := cxplane.beyond(wt, w -> 'r', nullif(cxplane.freed_by(w -> 'e'), '{}'));
                if answer is not null then
                    answers[n] := jsonb_build_object('budget', answer);
                    continue;
                end if;
            end if;
            good := good || n;
        end loop;
        first := last + 1;
        continue when good = '{}';

        if w -> 'e' -> -1 ->> 'l' is distinct from release_hash then  -- the same for most entries of most writes
            release_hash := w -> 'e' -> -1 ->> 'l';
            select id into release_id from cxplane.release_name where hash = release_hash;
        end if;
        at_good := 0;
        left_of := 0;
        for e in
            insert into cxplane.entry (position, at, tenant, stream, kind, actor, release, cause, takes, body, private)
            select nextval('cxplane.entry_position'), x.a, batch -> (g.n - 1) ->> 't', x.s, x.k, x.r,
                case when x.l = release_hash then release_id
                    else (select id from cxplane.release_name where hash = x.l) end, x.c, x.t, x.b, x.p
            from unnest(good) as g (n), lateral jsonb_to_recordset(batch -> (g.n - 1) -> 'e')
                as x (k text, s text, a timestamptz, r text, l text, c text, t jsonb, b jsonb, p jsonb)
            returning *
        loop
            if left_of = 0 then  -- the first entry of the next write
                at_good := at_good + 1;
                n := good[at_good];
                w := batch -> (n - 1);
                wt := w ->> 't';
                left_of := jsonb_array_length(w -> 'e');
                positions := '[]';
                woke := false;
                reached := 0;
            end if;
            left_of := left_of - 1;
            positions := positions || to_jsonb(e.position);
            if asked.kind is not null and e.kind = 'decision' and e.stream = asked.stream then
                if cxplane.fold_asked(asked, e) is null then
                end if;
                asked := null;
            elsif e.kind = 'request' and left_of > 0 then
                if asked.kind is not null then
                    perform cxplane.fold(asked);
                end if;
                asked := e;  -- until it is known what follows
            else
                if asked.kind is not null then
                    perform cxplane.fold(asked);
                    asked := null;
                end if;
                if e.kind <> 'run.advanced' then
                    if cxplane.fold(e) is null then
                    end if;
                end if;
                if e.kind in ('run.started', 'run.advanced', 'run.told', 'signal', 'task.opened', 'task.moved', 'task.answered',
                        'outcome', 'approval.decided') and (e.kind <> 'outcome' or e.takes is null or not e.takes ? 'leg') then
                    if e.kind = 'outcome' then
                        e.body := jsonb_build_object('request', e.stream) || e.body;  -- as `fold_run` reads it
                    end if;
                    reach := cxplane.fold_run(e);
                    woke := woke or reach > 0;
                    reached := reached + abs(reach);
                end if;
            end if;
            continue when left_of > 0;

            answer := jsonb_build_object('p', positions);
            if woke then
                answer := answer || '{"w": true}';
            end if;
            if reached > 0 then
                answer := answer || jsonb_build_object('s', reached);
            end if;
            if w ? 'i' then
                update cxplane.mailbox m set busy = false where tenant = wt and stream = w -> 'f' ->> 0
                    and not exists (select from cxplane.inbox i where i.tenant = wt and i.stream = m.stream);
                if not found and exists (select from cxplane.mailbox m where tenant = wt and stream = w -> 'f' ->> 0) then
                    answer := answer || '{"m": true}';
                end if;
            elsif w ? 'f' then
                perform 1 from cxplane.inbox where tenant = wt and stream = w -> 'f' ->> 0 limit 1;
                if found then
                    answer := answer || '{"m": true}';
                end if;
            end if;
            answers[n] := answer;
        end loop;
    end loop;
    return query select unnest(answers);
end $$;

-- As planes of before call it.
create or replace function cxplane.append(batch jsonb, names text[], settling_tenants text[], settling_ids text[],
    calling_tenants text[], calling_types text[], calling_keys text[], sealing_tenants text[], sealing_ids text[])
returns setof jsonb language sql as $$
    select * from cxplane.append(batch, names, settling_tenants, settling_ids, calling_tenants, calling_types, calling_keys,
        sealing_tenants, sealing_ids, null)
$$;
