-- Keys that seal personal data: one a customer, or one a customer, data class and period where plane.yaml says how long
-- data is kept. Subject: a customer, '~' and a conversation whose customer is not known, or '' for what is nobody's.
create table cxplane.subject_key (
    tenant text collate "C" not null,
    id text collate "C" not null,           -- random; named in every sealed value
    subject text collate "C" not null,
    shelf text collate "C" not null,        -- '' or class/period
    ends timestamptz,                       -- of the period; null: it has none
    made_at timestamptz not null,
    wrapped_by text collate "C" not null,   -- which operator key
    wrapped bytea,                          -- null: destroyed
    erased_at timestamptz,
    erased_by text,
    why text,                               -- erased | retention
    proof bytea,                            -- SHA-256 of what was destroyed
    primary key (tenant, id)
);
create unique index subject_key_living_idx on cxplane.subject_key (tenant, subject, shelf) where wrapped is not null;
create index subject_key_gone_idx on cxplane.subject_key (tenant, subject) where wrapped is null;
create index subject_key_due_idx on cxplane.subject_key (ends) where wrapped is not null and ends is not null;
create index conversation_customer_idx on cxplane.conversation (tenant, customer) where customer is not null;

-- Locked by whoever writes under a key (shared) and whoever destroys it: after names, before positions, in one order.
create function cxplane.lock_keys(tenants text[], ids text[], alone boolean) returns void language plpgsql as $$
declare
    one int;
begin
    for one in select distinct hashtext(t || '|' || i) as h from unnest(tenants, ids) as a (t, i) order by h loop
        if alone then
            perform pg_advisory_xact_lock(1668313456, one);
        else
            perform pg_advisory_xact_lock_shared(1668313456, one);
        end if;
    end loop;
end $$;
