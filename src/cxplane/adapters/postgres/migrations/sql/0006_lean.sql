-- Leaner entries: a decision tells the intent itself (`due`), and neither decision nor outcome repeats the request's id, which is
-- their stream, nor the key that the request's entry has. What older planes write is folded as before. An approval is decided
-- only while it is open, whoever asks.

-- The claim and the reservations of a write.
create or replace function cxplane.take(t text, r text, takes jsonb, noted boolean) returns void language plpgsql as $$
declare
    c jsonb := takes -> 'claim';
    reserve jsonb := takes -> 'reserve';
    told boolean := false;
begin
    if c = 'true' then  -- the request itself tells it
        told := true;
        select jsonb_build_array(action, key, id) into c from cxplane.request where tenant = t and id = r;
    end if;
    if c is not null then
        insert into cxplane.claim (id, tenant, request) values (cxplane.claim_id(t, c ->> 0, c ->> 1), t, c ->> 2)
            on conflict (id) do update set request = excluded.request;
        r := c ->> 2;
        if not told then
            update cxplane.request set key = c ->> 1 where tenant = t and id = r and key is distinct from c ->> 1;
        end if;
    end if;
    if reserve is not null then
        insert into cxplane.budget_use as u (tenant, budget, scope, span, money, count, risk)
            select t, v ->> 0, v ->> 1, v ->> 2, sum((v ->> 3)::bigint), sum((v ->> 4)::bigint), sum((v ->> 5)::bigint)
            from jsonb_array_elements(reserve) v group by v ->> 0, v ->> 1, v ->> 2
            on conflict (tenant, budget, scope, span) do update
                set money = u.money + excluded.money, count = u.count + excluded.count, risk = u.risk + excluded.risk;
        if not noted then
            update cxplane.request set reserved = coalesce(reserved, '[]') || reserve where tenant = t and id = r;
        end if;
    end if;
end $$;

-- As in 0002, but for the intent of a decision.
create or replace function cxplane.fold(e cxplane.entry) returns void language plpgsql as $$
declare
    b jsonb := e.body;
    found_row record;
    said text;
    own boolean := false;  -- whether the reservations are noted with the request already
begin
    case e.kind
    when 'request' then
        insert into cxplane.request
            (tenant, id, action, caller, customer, conversation, status, key, input_hash, body_hash, at, updated_at, undoes, run)
        values (e.tenant, b ->> 'id', b ->> 'action', b ->> 'caller', b ->> 'customer', b ->> 'conversation', 'running',
            b ->> 'key', coalesce(b ->> 'input_hash', ''), b ->> 'body_hash', e.at, e.at, b ->> 'undoes',
            b ->> 'run')
        on conflict (tenant, id) do nothing;
    when 'decision' then
        if b ->> 'verdict' = 'refuse' then
            perform cxplane.give_back(e.tenant, e.stream);
        end if;
        -- its reservations in the same update: one row version less
        own := e.takes ? 'reserve' and coalesce(e.takes -> 'claim', 'true') = 'true';
        update cxplane.request set verdict = b ->> 'verdict', status = b ->> 'status', release = e.release,
            key = coalesce(b ->> 'key', key), updated_at = e.at,
            reserved = case when own then coalesce(reserved, '[]') || (e.takes -> 'reserve') else reserved end
            where tenant = e.tenant and id = e.stream returning action, key into found_row;
        if b ? 'due' then
            insert into cxplane.intent (tenant, request, action, key, due, tries)
                values (e.tenant, e.stream, found_row.action, found_row.key, (b ->> 'due')::timestamptz, 0)
                on conflict (tenant, request) do update set due = excluded.due, key = excluded.key, tries = 0;
        end if;
    when 'intent' then
        insert into cxplane.intent (tenant, request, action, key, due, tries)
            values (e.tenant, e.stream, b ->> 'action', b ->> 'key', (b ->> 'due')::timestamptz, 0)
            on conflict (tenant, request) do update set due = excluded.due, key = excluded.key, tries = 0;
    when 'outcome' then
        said := b ->> 'status';
        update cxplane.request set status = said, error = b ->> 'error', updated_at = e.at
            where tenant = e.tenant and id = e.stream returning undoes into found_row;
        if said = 'unknown' then
            update cxplane.intent set due = coalesce((b ->> 'due')::timestamptz, due), tries = tries + 1
                where tenant = e.tenant and request = e.stream;
        else
            delete from cxplane.intent where tenant = e.tenant and request = e.stream;
        end if;
        if said = 'failed' then
            perform cxplane.give_back(e.tenant, e.stream);
        elsif said = 'done' and found_row.undoes is not null then
            update cxplane.request set undone_by = e.stream where tenant = e.tenant and id = found_row.undoes;
        end if;
    when 'approval.opened' then
        insert into cxplane.approval (tenant, id, request, action, customer, proposed_by, approver_sets, four_eyes,
            status, opened_at, expires_at, fallback)
        values (e.tenant, b ->> 'approval', b ->> 'request', b ->> 'action', b ->> 'customer', b ->> 'proposed_by',
            coalesce(b -> 'approver_sets', '[]'), coalesce((b ->> 'four_eyes')::boolean, false),
            'open', e.at, (b ->> 'expires_at')::timestamptz, coalesce(b ->> 'default', 'refuse'))
        on conflict (tenant, id) do nothing;
        update cxplane.request set approval = b ->> 'approval' where tenant = e.tenant and id = b ->> 'request';
    when 'approval.decided' then
        said := b ->> 'status';
        update cxplane.approval set status = said, decided_by = b ->> 'decided_by', decided_at = e.at,
            comment = e.private ->> 'comment', replaced_by = b ->> 'replaced_by'
            where tenant = e.tenant and id = b ->> 'approval';
        if said in ('rejected', 'edited', 'expired') then
            perform cxplane.give_back(e.tenant, b ->> 'request');
            update cxplane.request set status = case said when 'edited' then 'replaced' else said end,
                replaced_by = coalesce(b ->> 'replaced_by', replaced_by), updated_at = e.at
                where tenant = e.tenant and id = b ->> 'request';
        end if;
    when 'customer.changed', 'customer.assurance', 'customer.consent' then
        perform cxplane.fold_customer(e);
    when 'conversation.opened' then
        insert into cxplane.conversation as c (tenant, id, customer, channel)
            values (e.tenant, e.stream, b ->> 'customer', b ->> 'channel')
            on conflict (tenant, id) do update set customer = coalesce(excluded.customer, c.customer),
                channel = coalesce(excluded.channel, c.channel);
    when 'fact.recorded' then
        insert into cxplane.conversation as c (tenant, id, recorded)
            values (e.tenant, e.stream, jsonb_build_object(b ->> 'name',
                jsonb_build_object('value', e.private -> 'value', 'by', e.actor, 'at', e.at)))
            on conflict (tenant, id) do update set recorded = c.recorded || excluded.recorded;
    when 'release.made' then
        insert into cxplane.release (tenant, hash, at, by, note, gates)
            values (e.tenant, b ->> 'hash', e.at, e.actor, coalesce(b ->> 'note', ''), coalesce(b -> 'gates', '{}'))
            on conflict (tenant, hash) do update set at = excluded.at, by = excluded.by, note = excluded.note,
                gates = excluded.gates;
    when 'release.live' then
        update cxplane.release set live = false where tenant = e.tenant and live and hash <> b ->> 'hash';
        insert into cxplane.release (tenant, hash, at, by, live) values (e.tenant, b ->> 'hash', e.at, e.actor, true)
            on conflict (tenant, hash) do update set live = true;
    when 'key.created' then
        insert into cxplane.api_key (tenant, id, caller, hash, created_at, created_by, expires_at)
            values (e.tenant, b ->> 'id', b ->> 'caller', b ->> 'hash', e.at, e.actor, (b ->> 'expires_at')::timestamptz)
            on conflict (tenant, id) do nothing;
    when 'key.revoked' then
        update cxplane.api_key set revoked_at = coalesce(revoked_at, e.at) where tenant = e.tenant and id = b ->> 'id';
    else
        null;  -- kinds that change no projection
    end case;
    if e.takes is not null then
        perform cxplane.take(e.tenant, e.stream, e.takes, own);
    end if;
end $$;

-- A request and the decision on it in one write: one row, instead of one that is changed at once. Otherwise as `fold` of both.
create function cxplane.fold_asked(q cxplane.entry, e cxplane.entry) returns void language plpgsql as $$
declare
    b jsonb := q.body;
    d jsonb := e.body;
    k text := coalesce(d ->> 'key', b ->> 'key');
    own boolean := coalesce(e.takes ? 'reserve' and coalesce(e.takes -> 'claim', 'true') = 'true', false);
begin
    insert into cxplane.request
        (tenant, id, action, caller, customer, conversation, status, key, input_hash, body_hash, at, updated_at, undoes, run,
        verdict, release, reserved)
    values (q.tenant, b ->> 'id', b ->> 'action', b ->> 'caller', b ->> 'customer', b ->> 'conversation', d ->> 'status',
        k, coalesce(b ->> 'input_hash', ''), b ->> 'body_hash', q.at, e.at, b ->> 'undoes', b ->> 'run',
        d ->> 'verdict', e.release, case when own then e.takes -> 'reserve' end)
    on conflict (tenant, id) do nothing;
    if not found then
        perform cxplane.fold(q);
        perform cxplane.fold(e);
        return;
    end if;
    if d ? 'due' then
        insert into cxplane.intent (tenant, request, action, key, due, tries)
            values (e.tenant, e.stream, b ->> 'action', k, (d ->> 'due')::timestamptz, 0)
            on conflict (tenant, request) do update set due = excluded.due, key = excluded.key, tries = 0;
    end if;
    if e.takes -> 'claim' = 'true' and k is not null then
        insert into cxplane.claim (id, tenant, request)
            values (cxplane.claim_id(e.tenant, b ->> 'action', k), e.tenant, e.stream)
            on conflict (id) do update set request = excluded.request;
        if e.takes ? 'reserve' then
            perform cxplane.take(e.tenant, e.stream, e.takes - 'claim', own);
        end if;
    elsif e.takes is not null then
        perform cxplane.take(e.tenant, e.stream, e.takes, own);
    end if;
end $$;

-- Many writes in one commit. Each is checked and folded in turn, so that two of one batch compete as two of two batches would.
--
-- `batch`: [{t: tenant, f: [run, epoch], i: whether the run rests, g: new signal, u: [new run, journey, key],
--            y: [ids of keys], n: new request, x: [request, status], c: [action, key, request],
--            o: [ids of approvals that must be open],
--            r: [[budget, scope, span, money, count, risk, limit money, limit count, limit risk, force]],
--            e: [{k: kind, s: stream, a: at, r: actor, l: release, c: cause, t: takes, b: body, p: private}]}]
-- `names`: what the batch may change, one text each: locked in one order everywhere, so planes never deadlock.
-- `settling`: requests whose reservations may be given back or whose undone request changes: (tenants, ids).
-- `calling`: signals that may reach runs: (tenants, types, keys).
-- `sealing`: keys that seal personal data of the batch: (tenants, ids). Each write names its own in `y`.
-- One answer a write, in order: {"p": [positions], "w"?: a run was woken, "m"?: mail waits for it, "s"?: runs a signal reached}
--    | {"fenced": run} | {"signal": id} | {"run": id} | {"taken": id} | {"moved": [id, status]} | {"key": [request, input_hash]}
--    | {"budget": [budget, limit, used, asked, allowed]} | {"gone": [ids of keys that were destroyed meanwhile]}
create or replace function cxplane.append(batch jsonb, names text[], settling_tenants text[], settling_ids text[],
    calling_tenants text[], calling_types text[], calling_keys text[], sealing_tenants text[], sealing_ids text[])
returns setof jsonb language plpgsql as $$
declare
    locks int[];
    one int;
    w jsonb;
    wt text;
    standing text;
    freed text[];
    holder record;
    answer jsonb;
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
        perform pg_advisory_xact_lock(1668313452, one);
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

    for w in select value from jsonb_array_elements(batch) loop
        wt := w ->> 't';
        answer := null;
        if gone is not null and (w -> 'y') ?| gone then
            return next jsonb_build_object('gone', w -> 'y');
            continue;
        end if;
        if w ? 'f' then
            perform 1 from cxplane.mailbox where tenant = wt and stream = w -> 'f' ->> 0
                and epoch = (w -> 'f' ->> 1)::bigint for no key update;
            if not found then
                return next jsonb_build_object('fenced', w -> 'f' -> 0);
                continue;
            end if;
        end if;
        if w ? 'g' then
            perform 1 from cxplane.signal where tenant = wt and id = w ->> 'g';
            if found then
                return next jsonb_build_object('signal', w -> 'g');
                continue;
            end if;
        end if;
        if w ? 'u' then
            select id into other from cxplane.run where tenant = wt and (id = w -> 'u' ->> 0 or (
                w -> 'u' ->> 2 is not null and journey = w -> 'u' ->> 1 and key = w -> 'u' ->> 2
                and status not in ('done', 'failed', 'cancelled'))) order by (id = w -> 'u' ->> 0) desc limit 1;
            if found then
                return next jsonb_build_object('run', other);
                continue;
            end if;
        end if;
        if w ? 'n' then
            perform 1 from cxplane.request where tenant = wt and id = w ->> 'n';
            if found then
                return next jsonb_build_object('taken', w -> 'n');
                continue;
            end if;
        end if;
        if w ? 'x' then
            select status into standing from cxplane.request where tenant = wt and id = w -> 'x' ->> 0;
            if not found or standing is distinct from w -> 'x' ->> 1 then
                return next jsonb_build_object('moved', jsonb_build_array(w -> 'x' -> 0, standing));
                continue;
            end if;
        end if;
        if w ? 'o' then
            perform 1 from jsonb_array_elements_text(w -> 'o') o
                where not exists (select from cxplane.approval where tenant = wt and id = o and status = 'open');
            if found then
                return next jsonb_build_object('moved', jsonb_build_array(coalesce(w -> 'x' -> 0, w -> 'o' -> 0), 'decided'));
                continue;
            end if;
        end if;
        if w ? 'c' or w ? 'r' then
            select array_agg(coalesce(x -> 'b' ->> 'request', x ->> 's')) into freed from jsonb_array_elements(w -> 'e') x
                where cxplane.frees(x ->> 'k', x -> 'b');
        end if;
        if w ? 'c' then
            select request into holder from cxplane.claim
                where id = cxplane.claim_id(wt, w -> 'c' ->> 0, w -> 'c' ->> 1) and tenant = wt;
            if found and holder.request <> w -> 'c' ->> 2 and holder.request is distinct from w -> 'x' ->> 0
                    and (freed is null or holder.request <> all (freed)) then
                return next jsonb_build_object('key', jsonb_build_array(holder.request, coalesce(
                    (select input_hash from cxplane.request where tenant = wt and id = holder.request), '')));
                continue;
            end if;
        end if;
        if w ? 'r' then
            answer := cxplane.beyond(wt, w -> 'r', freed);
            if answer is not null then
                return next jsonb_build_object('budget', answer);
                continue;
            end if;
        end if;
        positions := '[]';
        woke := false;
        reached := 0;
        if w -> 'e' -> -1 ->> 'l' is distinct from release_hash then  -- the same for most entries of most writes
            release_hash := w -> 'e' -> -1 ->> 'l';
            select id into release_id from cxplane.release_name where hash = release_hash;
        end if;
        for e in
            insert into cxplane.entry (position, at, tenant, stream, kind, actor, release, cause, takes, body, private)
            select nextval('cxplane.entry_position'), x.a, wt, x.s, x.k, x.r, case when x.l = release_hash then release_id
                else (select id from cxplane.release_name where hash = x.l) end, x.c, x.t, x.b, x.p
            from jsonb_to_recordset(w -> 'e')
                as x (k text, s text, a timestamptz, r text, l text, c text, t jsonb, b jsonb, p jsonb)
            returning *
        loop
            positions := positions || to_jsonb(e.position);
            if asked.kind is not null then
                if e.kind = 'decision' and e.stream = asked.stream then
                    perform cxplane.fold_asked(asked, e);
                    asked := null;
                    continue;
                end if;
                perform cxplane.fold(asked);
                asked := null;
            end if;
            if e.kind = 'request' then
                asked := e;  -- until it is known what follows
                continue;
            end if;
            perform cxplane.fold(e);
            if e.kind = 'outcome' then
                e.body := jsonb_build_object('request', e.stream) || e.body;  -- as `fold_run` reads it
            end if;
            if e.kind in ('run.started', 'run.advanced', 'run.told', 'signal', 'task.opened', 'task.moved', 'task.answered',
                    'outcome', 'approval.decided') then
                reach := cxplane.fold_run(e);
                woke := woke or reach > 0;
                reached := reached + abs(reach);
            end if;
        end loop;
        if asked.kind is not null then
            perform cxplane.fold(asked);
            asked := null;
        end if;
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
        return next answer;
    end loop;
end $$;

-- Fold everything again from the journal. Nothing else may write this tenant meanwhile.
create or replace function cxplane.rebuild(t text) returns bigint language plpgsql as $$
declare
    e cxplane.entry;
    n bigint := 0;
begin
    delete from cxplane.request where tenant = t;
    delete from cxplane.claim where tenant = t;
    delete from cxplane.budget_use where tenant = t;
    delete from cxplane.intent where tenant = t;
    delete from cxplane.approval where tenant = t;
    delete from cxplane.customer where tenant = t;
    delete from cxplane.conversation where tenant = t;
    delete from cxplane.release where tenant = t;
    delete from cxplane.api_key where tenant = t;
    delete from cxplane.run where tenant = t;
    delete from cxplane.inbox where tenant = t;
    delete from cxplane.timer where tenant = t;
    delete from cxplane.listen where tenant = t;
    delete from cxplane.recent where tenant = t;
    delete from cxplane.heard where tenant = t;
    delete from cxplane.signal where tenant = t;
    delete from cxplane.task where tenant = t;
    for e in select * from cxplane.entry where tenant = t order by position loop
        perform cxplane.fold(e);
        if e.kind = 'outcome' then
            e.body := jsonb_build_object('request', e.stream) || e.body;  -- as `fold_run` reads it
        end if;
        perform cxplane.fold_run(e);
        perform cxplane.fold_erased(e);
        n := n + 1;
    end loop;
    -- epochs stay: whoever held a run before holds it no more
    update cxplane.mailbox m set epoch = cxplane.fresh_epoch(),
        busy = exists (select from cxplane.inbox i where i.tenant = t and i.stream = m.stream) where tenant = t;
    return n;
end $$;
