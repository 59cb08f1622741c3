-- Appends in fewer statements: what speaks against writes is asked of all of a group at once, and what legs say is folded at once.

-- What speaks against writes `first` to `last` of a batch, of which no two change the same; null for those that may go on record.
-- In the order in which `append` names its answers. Budgets are asked apart. Locks the mailboxes of the runs.
create function cxplane.against(batch jsonb, first int, last int, gone text[]) returns jsonb[] language plpgsql as $$
begin
    return (
        with g as materialized (
            select n, batch -> (n - 1) as w, batch -> (n - 1) ->> 't' as t from generate_series(first, last) n
        ), mine as materialized (
            select n from g cross join lateral (
                select from cxplane.mailbox m where m.tenant = t and m.stream = w -> 'f' ->> 0
                    and m.epoch = (w -> 'f' ->> 1)::bigint for no key update
            ) held where w ? 'f'
        )
        select array_agg(coalesce(
            case when (w -> 'y') ?| gone then jsonb_build_object('gone', w -> 'y') end,
            case when w ? 'f' and n not in (select mine.n from mine) then jsonb_build_object('fenced', w -> 'f' -> 0) end,
            case when w ? 'v' and concat(
                (select xmin from cxplane.customer c where c.tenant = t and c.id = w -> 'v' ->> 0), '/',
                (select xmin from cxplane.conversation c where c.tenant = t and c.id = w -> 'v' ->> 1)) is distinct from w -> 'v' ->> 2
                then jsonb_build_object('changed', w -> 'v' -> 0) end,
            case when w ? 'g' then (select jsonb_build_object('signal', s.id) from cxplane.signal s
                where s.tenant = t and s.id = w ->> 'g') end,
            case when w ? 'u' then coalesce(
                (select jsonb_build_object('run', r.id) from cxplane.run r where r.tenant = t and r.id = w -> 'u' ->> 0),
                (select jsonb_build_object('run', r.id) from cxplane.run r
                    where r.tenant = t and r.journey = w -> 'u' ->> 1 and r.key = w -> 'u' ->> 2
                    and r.key is not null and r.status not in ('done', 'failed', 'cancelled') limit 1)) end,
            case when w ? 'n' then (select jsonb_build_object('taken', q.id) from cxplane.request q
                where q.tenant = t and q.id = w ->> 'n') end,
            case when w ? 'x' then (select jsonb_build_object('moved', jsonb_build_array(w -> 'x' -> 0, q.status))
                from (select) one left join cxplane.request q on q.tenant = t and q.id = w -> 'x' ->> 0
                where q.status is distinct from w -> 'x' ->> 1) end,
            case when w ? 'o' and exists (select from jsonb_array_elements_text(w -> 'o') o
                    where not exists (select from cxplane.approval a where a.tenant = t and a.id = o and a.status = 'open'))
                then jsonb_build_object('moved', jsonb_build_array(coalesce(w -> 'x' -> 0, w -> 'o' -> 0), 'decided')) end,
            case when w ? 'c' then (
                select jsonb_build_object('key', jsonb_build_array(k.request, coalesce(
                    (select q.input_hash from cxplane.request q where q.tenant = t and q.id = k.request), '')))
                from cxplane.claim k where k.id = cxplane.claim_id(t, w -> 'c' ->> 0, w -> 'c' ->> 1) and k.tenant = t
                and k.request <> w -> 'c' ->> 2 and k.request is distinct from w -> 'x' ->> 0
                and k.request <> all (cxplane.freed_by(w -> 'e'))) end
        ) order by n) from g
    );
end $$;

-- What legs say when nothing is out of the ordinary (`l` of a write): outcomes that are done, runs that went on, requests with the
-- decision to do them. As `fold` and `fold_run` of each entry in turn, of many runs at once. By index only: a plan may have been
-- made when the tables were small.
create function cxplane.fold_legs(es cxplane.entry[]) returns void language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    undone record;
begin
    for undone in
        update cxplane.request q set status = e.body ->> 'status', error = e.body ->> 'error', updated_at = e.at
            from unnest(es) e where e.kind = 'outcome' and q.tenant = e.tenant and q.id = e.stream
            returning q.tenant, q.id, q.undoes
    loop
        if undone.undoes is not null then
            update cxplane.request set undone_by = undone.id where tenant = undone.tenant and id = undone.undoes;
        end if;
    end loop;
    delete from cxplane.intent i using unnest(es) e where e.kind = 'outcome' and i.tenant = e.tenant and i.request = e.stream;
    delete from cxplane.inbox i using (
        select e.tenant, e.stream, ref from unnest(es) e cross join jsonb_array_elements_text(e.body -> 'took') ref
        where e.kind = 'run.advanced' and e.body ? 'took') t
        where i.tenant = t.tenant and i.stream = t.stream and i.ref = t.ref;
    update cxplane.run r set status = e.body ->> 'status', updated_at = e.at, release = coalesce(e.release, r.release),
        at = coalesce((select array_agg(x) from jsonb_array_elements_text(e.body -> 'at') x), '{}'),
        waits = coalesce((select array_agg(x) from jsonb_array_elements_text(e.private -> 'waits') x), '{}'),
        error = e.body ->> 'error', next_due = (e.body ->> 'next_due')::timestamptz, state = e.private -> 'state'
        from unnest(es) e where e.kind = 'run.advanced' and r.tenant = e.tenant and r.id = e.stream;
    with ended as materialized (
        select e.tenant, e.stream from unnest(es) e
        where e.kind = 'run.advanced' and e.body ->> 'status' in ('done', 'failed', 'cancelled')
    ), mail as (
        delete from cxplane.inbox i using ended e where i.tenant = e.tenant and i.stream = e.stream
    ), heard as (
        delete from cxplane.heard h using ended e where h.tenant = e.tenant and h.run = e.stream
    )
    delete from cxplane.mailbox m using ended e where m.tenant = e.tenant and m.stream = e.stream;
    with asked as materialized (
        select q.tenant, q.stream as id, q.at as asked_at, q.body as b, d.body as d, d.at, d.release, d.takes,
            coalesce(d.body ->> 'key', q.body ->> 'key') as key
        from unnest(es) q join unnest(es) d on d.tenant = q.tenant and d.stream = q.stream
        where q.kind = 'request' and d.kind = 'decision'
    ), requests as (
        insert into cxplane.request (tenant, id, action, caller, customer, conversation, status, key, input_hash, body_hash,
            at, updated_at, undoes, run, verdict, release)
        select tenant, id, b ->> 'action', b ->> 'caller', b ->> 'customer', b ->> 'conversation', d ->> 'status', key,
            coalesce(b ->> 'input_hash', ''), b ->> 'body_hash', asked_at, at, b ->> 'undoes', b ->> 'run', d ->> 'verdict', release
        from asked
    ), intents as (
        insert into cxplane.intent (tenant, request, action, key, due, tries)
        select tenant, id, b ->> 'action', key, (d ->> 'due')::timestamptz, 0 from asked
    )
    insert into cxplane.claim (id, tenant, request)
        select cxplane.claim_id(tenant, b ->> 'action', key), tenant, id from asked where takes -> 'claim' = 'true' and key is not null
        on conflict (id) do update set request = excluded.request;
end $$;

-- The writes of legs for whose runs there is mail; a run that comes to rest rests if there is none.
create function cxplane.with_mail(batch jsonb, good int[]) returns int[] language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    found int[];
begin
    with g as materialized (
        select n, batch -> (n - 1) ->> 't' as t, batch -> (n - 1) -> 'f' ->> 0 as run, batch -> (n - 1) ? 'i' as rests
        from unnest(good) n where batch -> (n - 1) ? 'f'
    ), resting as (
        update cxplane.mailbox m
            set busy = g.mail, worker = case when g.mail then m.worker end
            from (
                select n, t, run, exists (select from cxplane.inbox i where i.tenant = t and i.stream = run) as mail
                from g where rests offset 0
            ) g
            where m.tenant = g.t and m.stream = g.run
            returning g.n, m.busy
    )
    select array_agg(n) into found from (
        select n from resting where busy
        union all
        select n from g where not rests and exists (select from cxplane.inbox i where i.tenant = g.t and i.stream = g.run)
    ) x;
    return coalesce(found, '{}');
end $$;

-- As the function of 0007, in fewer statements. Many writes in one commit, in groups: those of one group touch nothing in common,
-- so they are checked together, each as if it were alone, and the entries of all that pass are added in one statement; what legs say
-- is folded in one, too. Groups are checked and folded in turn, so that two writes of one batch compete as two of two batches would.
-- (`if f() is null`: a call without a statement of its own, which would cost as much again.)
--
-- `batch`: [{t: tenant, f: [run, epoch], i: whether the run rests, v: [customer, conversation, version], g: new signal, u: [new run, journey, key],
--            h: the epoch under which its worker begins with the new run at once, y: [ids of keys], n: new request, x: [request, status], c: [action, key, request],
--            o: [ids of approvals that must be open],
--            l: whether a leg says nothing out of the ordinary (see `fold_legs`),
--            r: [[budget, scope, span, money, count, risk, limit money, limit count, limit risk, force]],
--            e: [{k: kind, s: stream, a: at, r: actor, l: release, c: cause, t: takes, b: body, p: private}]}]
-- `ends`: the last write of each group, counted from 1.
-- `names`: what the batch may change, one text each: locked in one order everywhere, so planes never deadlock.
-- `settling`: requests whose reservations may be given back or whose undone request changes: (tenants, ids).
-- `calling`: signals that may reach runs: (tenants, types, keys).
-- `sealing`: keys that seal personal data of the batch: (tenants, ids). Each write names its own in `y`.
-- `worker`: who writes and begins at once with new runs (`h`); null where there are none.
-- One answer a write, in order: {"p": [positions], "w"?: a run was woken, "m"?: mail waits for it, "s"?: runs a signal reached}
--    | {"fenced": run} | {"changed": customer} | {"signal": id} | {"run": id} | {"taken": id} | {"moved": [id, status]} | {"key": [request, input_hash]}
--    | {"budget": [budget, limit, used, asked, allowed]} | {"gone": [ids of keys that were destroyed meanwhile]}
create function cxplane.append(batch jsonb, names text[], settling_tenants text[], settling_ids text[],
    calling_tenants text[], calling_types text[], calling_keys text[], sealing_tenants text[], sealing_ids text[], ends int[],
    worker text)
returns setof jsonb language plpgsql as $$
declare
    locks int[];
    one int;
    w jsonb;
    answer jsonb;
    answers jsonb[] := '{}';
    wrong jsonb[];
    first int := 1;
    last int;
    n int;
    good int[];
    at_good int;
    left_of int;
    e cxplane.entry;
    asked cxplane.entry;
    legs cxplane.entry[];
    release_hash text;
    release_id int;
    positions jsonb;
    reach int;
    reached int;
    woke boolean;
    gone text[];
    at_hand text[];
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

    foreach last in array ends loop
        wrong := cxplane.against(batch, first, last, gone);
        good := '{}';
        at_hand := array[worker];
        for n in first .. last loop
            answer := wrong[n - first + 1];
            if answer is null and batch -> (n - 1) ? 'r' then
                w := batch -> (n - 1);
                answer := cxplane.beyond(w ->> 't', w -> 'r', nullif(cxplane.freed_by(w -> 'e'), '{}'));
                if answer is not null then
                    answer := jsonb_build_object('budget', answer);
                end if;
            end if;
            if answer is null then
                good := good || n;
                if batch -> (n - 1) ? 'h' then
                    at_hand := at_hand || array[batch -> (n - 1) -> 'u' ->> 0, batch -> (n - 1) ->> 'h'];
                end if;
            else
                answers[n] := answer;
            end if;
        end loop;
        first := last + 1;
        continue when good = '{}';
        if worker is not null then
            perform set_config('cxplane.at_hand', at_hand::text, true);
        end if;

        w := batch -> (last - 1);
        if w -> 'e' -> -1 ->> 'l' is distinct from release_hash then  -- the same for most entries of most writes
            release_hash := w -> 'e' -> -1 ->> 'l';
            select id into release_id from cxplane.release_name where hash = release_hash;
        end if;
        at_good := 0;
        left_of := 0;
        legs := '{}';
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
                left_of := jsonb_array_length(w -> 'e');
                positions := '[]';
                woke := false;
                reached := 0;
            end if;
            left_of := left_of - 1;
            positions := positions || to_jsonb(e.position);
            if w ? 'l' then
                legs := legs || e;
            elsif asked.kind is not null and e.kind = 'decision' and e.stream = asked.stream then
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
            answers[n] := answer;
        end loop;
        if legs <> '{}' then
            perform cxplane.fold_legs(legs);
        end if;
        foreach n in array cxplane.with_mail(batch, good) loop
            answers[n] := answers[n] || '{"m": true}';
        end loop;
    end loop;
    return query select unnest(answers);
end $$;
