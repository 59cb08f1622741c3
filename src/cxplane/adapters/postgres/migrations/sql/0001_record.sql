-- The journal, and the projections that are folded from it.

create sequence cxplane.entry_position as bigint;

-- Hashes of releases, once: every decision names one.
create table cxplane.release_name (
    id int generated always as identity primary key,
    hash text collate "C" not null unique
);

create table cxplane.entry (
    position bigint not null,
    at timestamptz not null,
    tenant text collate "C" not null,
    stream text collate "C" not null,
    kind text collate "C" not null,
    actor text not null,
    release int,            -- see release_name
    cause text,
    takes jsonb,            -- what its write took: {"claim": true | [action, key, request], "reserve": [[budget, scope, span, money, count, risk]]}
    body jsonb not null,
    private jsonb
) partition by range (at);

create index entry_position_idx on cxplane.entry (tenant, position);
create index entry_stream_idx on cxplane.entry (stream);
-- kinds that are few among millions of requests
create index entry_kind_idx on cxplane.entry (tenant, kind, position)
    where kind not in ('request', 'decision', 'intent', 'outcome');

create function cxplane.append_only() returns trigger language plpgsql as $$
begin
    raise exception 'the record is append-only' using errcode = 'insufficient_privilege';
end $$;
create trigger append_only before update or delete or truncate on cxplane.entry
    for each statement execute function cxplane.append_only();

-- One partition a month (UTC). Attached, not created in place, so that appends go on meanwhile.
create function cxplane.ensure_month(month date) returns void language plpgsql as $$
declare
    name text := 'entry_' || to_char(month, 'YYYY_MM');
begin
    if to_regclass('cxplane.' || name) is not null then
        return;
    end if;
    perform pg_advisory_xact_lock(1668313454, 0);
    -- asked of the catalog itself: to_regclass may remember the answer from before the lock
    perform 1 from pg_class where relname = name and relnamespace = 'cxplane'::regnamespace;
    if found then
        return;
    end if;
    execute format('create table cxplane.%I (like cxplane.entry including defaults including constraints)', name);
    execute format(
        'create trigger append_only before update or delete or truncate on cxplane.%I '
        'for each statement execute function cxplane.append_only()', name);
    execute format('alter table cxplane.entry attach partition cxplane.%I for values from (%L) to (%L)', name,
        month::timestamp at time zone 'UTC', (month + interval '1 month')::timestamp at time zone 'UTC');
end $$;

create table cxplane.request (
    tenant text collate "C" not null,
    id text collate "C" not null,
    action text collate "C" not null,
    caller text collate "C" not null,
    customer text collate "C",
    conversation text collate "C",
    verdict text,
    status text not null,
    key text collate "C",
    input_hash text not null,
    body_hash text,
    release int,
    at timestamptz not null,
    updated_at timestamptz not null,
    approval text,
    error text,
    replaced_by text,
    undone_by text,
    undoes text,
    reserved jsonb,
    primary key (tenant, id)
) with (fillfactor = 85);
create index request_at_idx on cxplane.request (tenant, at);
create index request_customer_idx on cxplane.request (tenant, customer, at) where customer is not null;

-- A business key that is held. `id` stands for tenant, action and key; the request row says the rest.
create table cxplane.claim (
    id bytea not null primary key,
    tenant text collate "C" not null,
    request text collate "C" not null
);

create function cxplane.claim_id(tenant text, action text, key text) returns bytea language sql immutable parallel safe
return substr(sha256(convert_to(tenant || E'\x1f' || action || E'\x1f' || key, 'UTF8')), 1, 16);

create table cxplane.budget_use (
    tenant text collate "C" not null,
    budget text collate "C" not null,
    scope text collate "C" not null,
    span text collate "C" not null,     -- ISO start of the window
    money bigint not null,
    count bigint not null,
    risk bigint not null,
    primary key (tenant, budget, scope, span)
) with (fillfactor = 50);

create table cxplane.intent (
    tenant text collate "C" not null,
    request text collate "C" not null,
    action text not null,
    key text,
    due timestamptz not null,
    tries int not null,
    primary key (tenant, request)
) with (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);

create table cxplane.approval (
    tenant text collate "C" not null,
    id text collate "C" not null,
    request text not null,
    action text not null,
    customer text,
    proposed_by text not null,
    approver_sets jsonb not null,
    four_eyes boolean not null,
    status text not null,
    opened_at timestamptz not null,
    expires_at timestamptz not null,
    fallback text not null,
    decided_by text,
    decided_at timestamptz,
    comment text,
    replaced_by text,
    primary key (tenant, id)
);
create index approval_at_idx on cxplane.approval (tenant, opened_at);
create index approval_open_idx on cxplane.approval (expires_at) where status = 'open';

create table cxplane.customer (
    tenant text collate "C" not null,
    id text collate "C" not null,
    attributes jsonb not null default '{}',
    identities jsonb not null default '[]',
    assurances jsonb not null default '[]',
    consents jsonb not null default '[]',
    primary key (tenant, id)
) with (fillfactor = 85);

create table cxplane.conversation (
    tenant text collate "C" not null,
    id text collate "C" not null,
    customer text,
    channel text,
    recorded jsonb not null default '{}',
    primary key (tenant, id)
) with (fillfactor = 85);

create table cxplane.release (
    tenant text collate "C" not null,
    hash text collate "C" not null,
    at timestamptz not null,
    by text not null,
    note text not null default '',
    gates jsonb not null default '{}',
    live boolean not null default false,
    primary key (tenant, hash)
);

create table cxplane.api_key (
    tenant text collate "C" not null,
    id text collate "C" not null,
    caller text not null,
    hash text collate "C" not null unique,
    created_at timestamptz not null,
    created_by text not null,
    expires_at timestamptz,
    revoked_at timestamptz,
    primary key (tenant, id)
);

-- What is kept beside the record.

create table cxplane.release_files (
    tenant text collate "C" not null,
    hash text collate "C" not null,
    files jsonb not null,
    primary key (tenant, hash)
);

create table cxplane.conformance (
    tenant text collate "C" not null,
    action text collate "C" not null,
    contract text collate "C" not null,
    result jsonb not null,
    at timestamptz not null,
    primary key (tenant, action, contract)
);
