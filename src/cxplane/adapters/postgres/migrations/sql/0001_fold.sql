-- How each kind of entry changes the projections. The rules are written in domain/entries.py.

-- Whether an entry gives back what its request holds.
create function cxplane.frees(kind text, body jsonb) returns boolean language sql immutable parallel safe
return case kind
    when 'outcome' then body ->> 'status' = 'failed'
    when 'approval.decided' then body ->> 'status' in ('rejected', 'edited', 'expired')
    when 'decision' then body ->> 'verdict' = 'refuse'
    else false
end;

create function cxplane.give_back(t text, r text) returns void language plpgsql as $$
declare
    held record;
begin
    select action, key, reserved into held from cxplane.request where tenant = t and id = r;
    if held.key is not null then
        delete from cxplane.claim where id = cxplane.claim_id(t, held.action, held.key) and request = r;
    end if;
    if held.reserved is not null then
        update cxplane.budget_use u
            set money = u.money - g.money, count = u.count - g.count, risk = u.risk - g.risk
            from (
                select v ->> 0 as budget, v ->> 1 as scope, v ->> 2 as span,
                    sum((v ->> 3)::bigint) as money, sum((v ->> 4)::bigint) as count, sum((v ->> 5)::bigint) as risk
                from jsonb_array_elements(held.reserved) v group by 1, 2, 3
            ) g
            where u.tenant = t and u.budget = g.budget and u.scope = g.scope and u.span = g.span;
        update cxplane.request set reserved = null where tenant = t and id = r;
    end if;
end $$;

-- The claim and the reservations of a write.
create function cxplane.take(t text, r text, takes jsonb, noted boolean) returns void language plpgsql as $$
declare
    c jsonb := takes -> 'claim';
    reserve jsonb := takes -> 'reserve';
begin
    if c = 'true' then
        select jsonb_build_array(action, key, id) into c from cxplane.request where tenant = t and id = r;
    end if;
    if c is not null then
        insert into cxplane.claim (id, tenant, request) values (cxplane.claim_id(t, c ->> 0, c ->> 1), t, c ->> 2)
            on conflict (id) do update set request = excluded.request;
        r := c ->> 2;
        update cxplane.request set key = c ->> 1 where tenant = t and id = r and key is distinct from c ->> 1;
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

create function cxplane.fold(e cxplane.entry) returns void language plpgsql as $$
declare
    b jsonb := e.body;
    found_row record;
    said text;
    own boolean := false;  -- whether the reservations are noted with the request already
begin
    case e.kind
    when 'request' then
        insert into cxplane.request
            (tenant, id, action, caller, customer, conversation, status, key, input_hash, body_hash, at, updated_at, undoes)
        values (e.tenant, b ->> 'id', b ->> 'action', b ->> 'caller', b ->> 'customer', b ->> 'conversation', 'running',
            b ->> 'key', coalesce(b ->> 'input_hash', ''), b ->> 'body_hash', e.at, e.at, b ->> 'undoes')
        on conflict (tenant, id) do nothing;
    when 'decision' then
        if b ->> 'verdict' = 'refuse' then
            perform cxplane.give_back(e.tenant, b ->> 'request');
        end if;
        -- its reservations in the same update: one row version less
        own := e.takes ? 'reserve' and coalesce(e.takes -> 'claim', 'true') = 'true';
        update cxplane.request set verdict = b ->> 'verdict', status = b ->> 'status', release = e.release,
            key = coalesce(b ->> 'key', key), updated_at = e.at,
            reserved = case when own then coalesce(reserved, '[]') || (e.takes -> 'reserve') else reserved end
            where tenant = e.tenant and id = b ->> 'request';
    when 'intent' then
        insert into cxplane.intent (tenant, request, action, key, due, tries)
            values (e.tenant, b ->> 'request', b ->> 'action', b ->> 'key', (b ->> 'due')::timestamptz, 0)
            on conflict (tenant, request) do update set due = excluded.due, key = excluded.key, tries = 0;
    when 'outcome' then
        said := b ->> 'status';
        update cxplane.request set status = said, error = b ->> 'error', updated_at = e.at
            where tenant = e.tenant and id = b ->> 'request' returning undoes into found_row;
        if said = 'unknown' then
            update cxplane.intent set due = coalesce((b ->> 'due')::timestamptz, due), tries = tries + 1
                where tenant = e.tenant and request = b ->> 'request';
        else
            delete from cxplane.intent where tenant = e.tenant and request = b ->> 'request';
        end if;
        if said = 'failed' then
            perform cxplane.give_back(e.tenant, b ->> 'request');
        elsif said = 'done' and found_row.undoes is not null then
            update cxplane.request set undone_by = b ->> 'request' where tenant = e.tenant and id = found_row.undoes;
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

create function cxplane.fold_customer(e cxplane.entry) returns void language plpgsql as $$
declare
    b jsonb := e.body;
    news jsonb;
begin
    insert into cxplane.customer (tenant, id) values (e.tenant, e.stream) on conflict do nothing;
    case e.kind
    when 'customer.changed' then
        update cxplane.customer c set
            attributes = coalesce((
                select jsonb_object_agg(key, value)
                from jsonb_each(c.attributes || coalesce(e.private -> 'attributes', '{}')) where value <> 'null'
            ), '{}'),
            identities = coalesce((
                select jsonb_agg(i order by n) from (
                    select i, min(n) as n
                    from jsonb_array_elements(c.identities || coalesce(e.private -> 'identities', '[]'))
                        with ordinality as all_of (i, n)
                    group by i
                ) once), '[]')
            where c.tenant = e.tenant and c.id = e.stream;
    when 'customer.assurance' then
        -- one of each level and method, the last word: the row stays small
        news := jsonb_build_object('level', b -> 'level', 'method', b -> 'method', 'until', b -> 'until');
        update cxplane.customer c set assurances = coalesce((
                select jsonb_agg(a order by n) from jsonb_array_elements(c.assurances) with ordinality as old (a, n)
                where (a -> 'level', a -> 'method') is distinct from (news -> 'level', news -> 'method')
            ), '[]') || jsonb_build_array(news)
            where c.tenant = e.tenant and c.id = e.stream;
    when 'customer.consent' then
        news := jsonb_build_object('purpose', b -> 'purpose', 'granted', b -> 'granted', 'source', b -> 'source',
            'channel', b -> 'channel', 'data', coalesce(b -> 'data', '[]'), 'at', e.at);
        update cxplane.customer c set consents = jsonb_build_array(news) || coalesce((
                select jsonb_agg(s order by n) from jsonb_array_elements(c.consents) with ordinality as old (s, n)
                where (s -> 'purpose', coalesce(s -> 'channel', 'null'), s -> 'data')
                    is distinct from (news -> 'purpose', coalesce(news -> 'channel', 'null'), news -> 'data')
            ), '[]')
            where c.tenant = e.tenant and c.id = e.stream;
    end case;
end $$;
