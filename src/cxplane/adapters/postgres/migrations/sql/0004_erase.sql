-- Erasure and retention: keys are destroyed, ciphertext and its proofs stay.

-- An erased customer leaves the projections.
create function cxplane.fold_erased(e cxplane.entry) returns void language plpgsql as $$
begin
    if e.kind <> 'customer.erased' then
        return;
    end if;
    delete from cxplane.customer where tenant = e.tenant and id = e.stream;
    update cxplane.conversation set recorded = '{}' where tenant = e.tenant and customer = e.stream;
    update cxplane.run set input = null, state = null, waits = '{}' where tenant = e.tenant and customer = e.stream;
    update cxplane.task set told = null, answer = null where tenant = e.tenant and customer = e.stream;
    update cxplane.approval set comment = null where tenant = e.tenant and customer = e.stream;
    delete from cxplane.inbox i using cxplane.run r
        where r.tenant = e.tenant and r.customer = e.stream and i.tenant = r.tenant and i.stream = r.id;
    delete from cxplane.recent where tenant = e.tenant
        and substring(private::text from 'cxe1:([A-Za-z0-9_-]+):') in (select x ->> 0 from jsonb_array_elements(e.body -> 'keys') x);
end $$;

-- Under whose keys the data of a customer is: its own, and those of conversations it was found to be in.
create function cxplane.subjects_of(t text, s text) returns text[] language sql stable
return array[s] || array(select '~' || id from cxplane.conversation where tenant = t and customer = s);

create function cxplane.on_hold(t text, s text) returns boolean language sql stable
return coalesce((select (body ->> 'on')::boolean from cxplane.entry
    where stream = s and tenant = t and kind = 'customer.hold' order by position desc limit 1), false);

-- What is still under way for a customer: {runs: [[id, journey, status]], requests: [[id, action, status]]}.
create function cxplane.live_of(t text, s text) returns jsonb language sql stable
return jsonb_strip_nulls(jsonb_build_object(
    'runs', (select jsonb_agg(jsonb_build_array(id, journey, status) order by started_at) from cxplane.run
        where tenant = t and customer = s and status not in ('done', 'failed', 'cancelled')),
    'requests', (select jsonb_agg(jsonb_build_array(id, action, status) order by at) from cxplane.request
        where tenant = t and customer = s and status in ('running', 'held', 'unknown', 'stuck'))));

-- Destroy keys, which nobody writes under any more: they are locked. [[id, SHA-256 of what is destroyed, in hex]]
create function cxplane.destroy_keys(t text, ids text[], now timestamptz, who text, reason text)
returns jsonb language plpgsql as $$
declare
    told jsonb;
begin
    with gone as (
        update cxplane.subject_key set wrapped = null, erased_at = now, erased_by = who, why = reason, proof = sha256(wrapped)
            where tenant = t and id = any (ids) and wrapped is not null returning id, proof
    )
    select jsonb_agg(jsonb_build_array(id, encode(proof, 'hex')) order by id) into told from gone;
    return coalesce(told, '[]');
end $$;

create function cxplane.put(t text, s text, k text, now timestamptz, who text, b jsonb)
returns cxplane.entry language plpgsql as $$
declare
    e cxplane.entry;
begin
    perform pg_advisory_xact_lock_shared(1668313453, (last_value & 2147483647)::int) from cxplane.entry_position;
    insert into cxplane.entry (position, at, tenant, stream, kind, actor, body)
        values (nextval('cxplane.entry_position'), now, t, s, k, who, b) returning * into e;
    return e;
end $$;

-- {"hold": true} | {"live": …} | {"position", "keys": [[id, proof]], "entries": that cannot be read any more}
create function cxplane.erase(t text, s text, now timestamptz, who text, reason text) returns jsonb language plpgsql as $$
declare
    subjects text[];
    ids text[];
    live jsonb;
    keys jsonb;
    n bigint;
    e cxplane.entry;
begin
    perform pg_advisory_xact_lock(1668313452, hashtext('cus|' || t || '|' || s));
    subjects := cxplane.subjects_of(t, s);
    select coalesce(array_agg(id), '{}') into ids from cxplane.subject_key
        where tenant = t and subject = any (subjects) and wrapped is not null;
    perform cxplane.lock_keys(array_fill(t, array[cardinality(ids)]), ids, true);
    if cxplane.on_hold(t, s) then
        return '{"hold": true}';
    end if;
    live := cxplane.live_of(t, s);
    if live <> '{}' then
        return jsonb_build_object('live', live);
    end if;
    keys := cxplane.destroy_keys(t, ids, now, who, 'erased');
    select count(*) into n from cxplane.entry x
        where x.tenant = t and x.private is not null and x.stream in (
            select s
            union all select id from cxplane.request where tenant = t and customer = s
            union all select id from cxplane.run where tenant = t and customer = s
            union all select id from cxplane.conversation where tenant = t and customer = s
            union all select distinct c.cause from cxplane.run r join cxplane.entry c
                on c.stream = r.id and c.tenant = r.tenant and c.kind = 'run.started' and c.cause is not null
                where r.tenant = t and r.customer = s)
        and substring(x.private::text from 'cxe1:([A-Za-z0-9_-]+):') = any (ids);
    e := cxplane.put(t, s, 'customer.erased', now, who,
        jsonb_build_object('keys', keys, 'entries', n) || case when reason = '' then '{}' else jsonb_build_object('reason', reason) end);
    perform cxplane.fold_erased(e);
    return e.body || jsonb_build_object('position', e.position, 'at', now);
end $$;

-- What is left of a customer, by looking at every entry: keys destroyed and living, entries nobody can read, entries that can
-- be read (by a living key, or because they were never sealed), rows of projections that still hold something.
create function cxplane.left_of(t text, s text) returns jsonb language plpgsql stable as $$
declare
    subjects text[] := cxplane.subjects_of(t, s);
    dead text[];
    alive text[];
    streams text[];
    seen jsonb;
begin
    select coalesce(array_agg(id) filter (where wrapped is null), '{}'), coalesce(array_agg(id) filter (where wrapped is not null), '{}')
        into dead, alive from cxplane.subject_key where tenant = t and subject = any (subjects);
    streams := array[s] || array(select id from cxplane.request where tenant = t and customer = s)
        || array(select id from cxplane.run where tenant = t and customer = s)
        || array(select id from cxplane.conversation where tenant = t and customer = s);
    select jsonb_build_object('unreadable', count(*) filter (where k = any (dead)),
            'readable', count(*) filter (where k = any (alive)),
            'unsealed', count(*) filter (where k is null and not empty and stream = any (streams)),
            'looked_at', count(*))
        into seen from (
            select stream, private = '{}' as empty, substring(private::text from 'cxe1:([A-Za-z0-9_-]+):') as k
            from cxplane.entry where tenant = t and private is not null) x;
    return seen || jsonb_build_object(
        'keys', (select coalesce(jsonb_agg(jsonb_build_object('id', id, 'at', erased_at, 'by', erased_by, 'why', why,
            'proof', encode(proof, 'hex')) order by erased_at, id), '[]') from cxplane.subject_key
            where tenant = t and subject = any (subjects) and wrapped is null),
        'living_keys', cardinality(alive),
        'rows', (select count(*) from cxplane.customer where tenant = t and id = s)
            + (select count(*) from cxplane.conversation where tenant = t and customer = s and recorded <> '{}')
            + (select count(*) from cxplane.run where tenant = t and customer = s and (input is not null or state is not null))
            + (select count(*) from cxplane.task where tenant = t and customer = s and (told is not null or answer is not null))
            + (select count(*) from cxplane.approval where tenant = t and customer = s and comment is not null));
end $$;

-- Whether something is under way that was begun before then and needs what this subject's key seals.
create function cxplane.needed(t text, s text, before timestamptz) returns boolean language sql stable
return exists (
    select from cxplane.run where tenant = t and status not in ('done', 'failed', 'cancelled') and started_at < before
        and case when s = '' then customer is null and conversation is null
            when s like '~%' then customer is null and conversation = substr(s, 2) else customer = s end
) or exists (
    select from (select tenant, request from cxplane.intent union all
            select tenant, request from cxplane.approval where status = 'open') w
        join cxplane.request q on q.tenant = w.tenant and q.id = w.request
        where q.tenant = t and q.at < before
        and case when s = '' then q.customer is null and q.conversation is null
            when s like '~%' then q.customer is null and q.conversation = substr(s, 2) else q.customer = s end);

-- Destroy keys whose time is over. `spans`: {class: [interval, …]}; a class that is not in it goes by `default`, and without
-- that is kept. How many keys; `most` at once. What is under way, and what is on hold, stays until it is not.
create function cxplane.retain(t text, spans jsonb, now timestamptz, who text, most int) returns int language plpgsql as $$
declare
    ids text[];
    due record;
    keys jsonb;
    classes jsonb := '{}';
begin
    select array_agg(id) into ids from (
        select k.id from cxplane.subject_key k
        where k.tenant = t and k.wrapped is not null and k.ends is not null and k.ends < now
            and k.ends + coalesce(spans ->> split_part(k.shelf, '/', 1), spans ->> 'default')::interval <= now
            and not cxplane.on_hold(t, k.subject)
            and not exists (select from cxplane.conversation c
                where k.subject like '~%' and c.tenant = t and c.id = substr(k.subject, 2) and cxplane.on_hold(t, c.customer))
            and not cxplane.needed(t, k.subject, k.ends)
        order by k.ends limit most) d;
    if ids is null then
        return 0;
    end if;
    perform cxplane.lock_keys(array_fill(t, array[cardinality(ids)]), ids, true);
    keys := cxplane.destroy_keys(t, ids, now, who, 'retention');
    if keys = '[]' then
        return 0;  -- another plane was first
    end if;
    for due in select split_part(shelf, '/', 1) as class, count(*) as n from cxplane.subject_key
            where tenant = t and id in (select x ->> 0 from jsonb_array_elements(keys) x) group by 1 loop
        classes := classes || jsonb_build_object(due.class, due.n);
    end loop;
    perform cxplane.put(t, 'retention', 'retention.applied', now, who, jsonb_build_object('keys', jsonb_array_length(keys),
        'classes', classes, 'proof', encode(sha256(convert_to(keys::text, 'UTF8')), 'hex')));
    return jsonb_array_length(keys);
end $$;
