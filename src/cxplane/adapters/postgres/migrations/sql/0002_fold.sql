-- Requests know the run that asked for them. Otherwise as in 0001.
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
