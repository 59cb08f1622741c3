-- Row-level security. A session names its tenant when it connects (the setting cxplane.tenant) and sees and writes that one,
-- whatever a query says. Superusers are not held by policies, nor is BYPASSRLS: sessions of the plane become cxplane_app.

-- Put the policy on a table that has a column `tenant`. Owners are held too.
create function cxplane.guard_table(t regclass) returns void language plpgsql as $$
begin
    perform from pg_class where oid = t and relrowsecurity and relforcerowsecurity;
    if not found then
        execute format('alter table %s enable row level security, force row level security', t);
    end if;
    perform from pg_policy where polrelid = t and polname = 'own_tenant';
    if not found then
        execute format('create policy own_tenant on %s using (tenant = current_setting(''cxplane.tenant'', true)) '
            'with check (tenant = current_setting(''cxplane.tenant'', true))', t);
    end if;
end $$;

-- Put policies on every table with a tenant, make the role of the sessions where this user may, and grant what it needs.
-- Twice is harmless; called after every step of the schema, and where the role or a grant is missing (a restored store).
create function cxplane.guard() returns void language plpgsql as $$
declare
    one record;
    may boolean;
    super boolean;
begin
    for one in select c.oid::regclass as name from pg_class c
            join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant' and not a.attisdropped
            where c.relnamespace = 'cxplane'::regnamespace and c.relkind in ('r', 'p') order by c.oid loop
        perform cxplane.guard_table(one.name);
    end loop;
    select rolsuper, rolsuper or rolcreaterole into super, may from pg_roles where rolname = current_user;
    begin
        if may and not exists (select from pg_roles where rolname = 'cxplane_app') then
            create role cxplane_app nologin;
        end if;
    exception when duplicate_object or unique_violation then
        null;  -- another database of this server made it at the same moment
    end;
    perform from pg_roles where rolname = 'cxplane_app';
    if not found then
        return;
    end if;
    begin
        if may and not super then
            execute format('grant cxplane_app to %I', current_user);
        end if;
    exception when insufficient_privilege then
        null;  -- somebody else made the role; the policies hold this user as the owner
    end;
    grant usage on schema cxplane to cxplane_app;
    grant usage, select on all sequences in schema cxplane to cxplane_app;
    grant select on cxplane.alembic_version to cxplane_app;
    grant select, insert on cxplane.release_name to cxplane_app;
    -- always empty; PgQueuer wants to see them
    grant select, insert on cxplane.pgqueuer_log, cxplane.pgqueuer_statistics, cxplane.pgqueuer_schedules to cxplane_app;
    for one in select c.oid::regclass as name,
                exists (select from pg_trigger g where g.tgrelid = c.oid and g.tgname = 'append_only') as appends
            from pg_class c
            join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant' and not a.attisdropped
            where c.relnamespace = 'cxplane'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition loop
        execute format('grant select, insert%s on %s to cxplane_app',
            case when one.appends then '' else ', update, delete' end, one.name);
    end loop;
end $$;

-- As before, and the policy on each partition. With the rights of the owner: sessions of the plane own no table.
create or replace function cxplane.ensure_month(month date) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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
    perform cxplane.guard_table(('cxplane.' || quote_ident(name))::regclass);
    execute format('alter table cxplane.entry attach partition cxplane.%I for values from (%L) to (%L)', name,
        month::timestamp at time zone 'UTC', (month + interval '1 month')::timestamp at time zone 'UTC');
end $$;

-- Which tenants have a live release: for who opens the store and was not told for whom. Not for sessions of the plane.
create policy live_tenants on cxplane.release for select using (live and current_setting('cxplane.tenant', true) = '*');
create function cxplane.tenants() returns setof text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    before text := current_setting('cxplane.tenant', true);
begin
    -- set here: a user who is no superuser may not give a function such a setting
    perform set_config('cxplane.tenant', '*', true);
    return query select tenant from cxplane.release where live order by tenant;
    perform set_config('cxplane.tenant', coalesce(before, ''), true);
end $$;

-- Jobs belong to a tenant: workers of one never see those of another. The kind of work is followed by the tenant
-- (leg@acme), so that this holds where policies do not.
alter table cxplane.pgqueuer add column tenant text collate "C";
alter table cxplane.pgqueuer alter column tenant set default current_setting('cxplane.tenant', true);
update cxplane.pgqueuer j set tenant = p.job ->> 'tenant', entrypoint = 'leg@' || (p.job ->> 'tenant'),
        payload = convert_to(jsonb_build_array(p.job -> 'run', p.job)::text, 'UTF8'),
        dedupe_key = 'leg@' || (p.job ->> 'tenant') || '|' || (p.job ->> 'run')
    from (select id, convert_from(payload, 'UTF8')::jsonb -> 1 as job from cxplane.pgqueuer where entrypoint = 'leg') p
    where p.id = j.id;
-- what waits to be found out or to expire is put into the queue anew by those who watch the times
delete from cxplane.pgqueuer where tenant is null and status = 'queued';

create or replace function cxplane.wake(t text, s text) returns boolean language plpgsql as $$
begin
    insert into cxplane.mailbox (tenant, stream) values (t, s)
        on conflict (tenant, stream) do update set busy = true where not mailbox.busy;
    if not found then
        return false;
    end if;
    insert into cxplane.pgqueuer (tenant, priority, entrypoint, payload, dedupe_key, status)
        values (t, 0, 'leg@' || t, convert_to(jsonb_build_array(s, jsonb_build_object('tenant', t, 'run', s))::text, 'UTF8'),
            'leg@' || t || '|' || s, 'queued')
        on conflict (dedupe_key) where status = 'queued'::cxplane.pgqueuer_status and dedupe_key is not null do nothing;
    return true;
end $$;

create or replace function cxplane.revive_runs(before timestamptz, most int) returns int language plpgsql as $$
declare
    one record;
    n int := 0;
begin
    for one in
        select m.tenant, m.stream from cxplane.mailbox m
        where m.busy and coalesce(m.taken_at, '-infinity') < before and not exists (
            select from cxplane.pgqueuer j where j.dedupe_key = 'leg@' || m.tenant || '|' || m.stream
                and j.status in ('queued', 'picked'))
        order by m.tenant, m.stream limit most for update of m skip locked
    loop
        update cxplane.mailbox set busy = false where tenant = one.tenant and stream = one.stream;
        perform cxplane.wake(one.tenant, one.stream);
        n := n + 1;
    end loop;
    return n;
end $$;

-- Keys that can do less than their caller, and keys that take the place of another, which ends after a while. Read from the
-- entry that made the key, in a trigger: a fold of its own would cost every entry.
alter table cxplane.api_key add column scope text[], add column actions text[], add column replaces text;

create function cxplane.key_limits() returns trigger language plpgsql as $$
declare
    b jsonb;
begin
    select body into b from cxplane.entry
        where stream = new.id and tenant = new.tenant and kind = 'key.created' order by position limit 1;
    new.scope := (select array_agg(x) from jsonb_array_elements_text(b -> 'scope') x);
    new.actions := (select array_agg(x) from jsonb_array_elements_text(b -> 'actions') x);
    new.replaces := b ->> 'replaces';
    update cxplane.api_key set expires_at = least(expires_at, (b ->> 'replaced_ends')::timestamptz)
        where tenant = new.tenant and id = new.replaces;
    return new;
end $$;
create trigger key_limits before insert on cxplane.api_key for each row execute function cxplane.key_limits();

-- The day a key was last used: kept beside the record, for the list of keys.
create table cxplane.key_use (
    tenant text collate "C" not null,
    id text collate "C" not null,
    day date not null,
    primary key (tenant, id)
);

-- What is due is looked for in one tenant: the rows of others are not gone through.
drop index cxplane.timer_due_idx;
create index timer_due_idx on cxplane.timer (tenant, due) where not fired;
drop index cxplane.approval_open_idx;
create index approval_open_idx on cxplane.approval (tenant, expires_at) where status = 'open';
drop index cxplane.recent_until_idx;
create index recent_until_idx on cxplane.recent (tenant, until);

revoke execute on function cxplane.guard_table(regclass), cxplane.guard(), cxplane.tenants() from public;
