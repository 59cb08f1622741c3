-- Runs of journeys. What is folded from the journal: run, inbox, timer, listen, recent, heard, signal, task. What is not: mailbox.

alter table cxplane.request add column run text collate "C";
create index request_run_idx on cxplane.request (tenant, run) where run is not null;

create table cxplane.run (
    tenant text collate "C" not null,
    id text collate "C" not null,
    journey text collate "C" not null,
    release int,
    status text collate "C" not null,
    started_at timestamptz not null,
    updated_at timestamptz not null,
    started_by text not null,
    began bigint not null default 0,        -- the position of its first entry
    customer text collate "C",
    conversation text collate "C",
    key text collate "C",
    parent text collate "C",
    at text[] not null default '{}',        -- steps where it is
    waits text[] not null default '{}',     -- what each waits for, in words
    error text,
    next_due timestamptz,
    input jsonb,
    state jsonb,
    primary key (tenant, id)
) with (fillfactor = 60);
create index run_at_idx on cxplane.run (tenant, started_at);
create index run_live_idx on cxplane.run (tenant, journey, id) where status not in ('done', 'failed', 'cancelled');
create index run_key_idx on cxplane.run (tenant, journey, key)
    where key is not null and status not in ('done', 'failed', 'cancelled');
create index run_stuck_idx on cxplane.run (tenant, id) where status = 'stuck';
create index run_customer_idx on cxplane.run (tenant, customer, started_at) where customer is not null;

-- Who may write a stream: one holder at a time, known by the epoch. `busy`: a wake-up is on its way or being done. Only
-- runs that have not ended have a row; no index but the key, so that an update stays on its page.
create table cxplane.mailbox (
    tenant text collate "C" not null,
    stream text collate "C" not null,
    epoch bigint not null default 0,
    busy boolean not null default true,
    taken_at timestamptz,
    primary key (tenant, stream)
) with (fillfactor = 60);

-- What came for a stream and is not worked in yet, in order. `ref`: p<position> of the entry, or t<name of the timer>.
create table cxplane.inbox (
    tenant text collate "C" not null,
    stream text collate "C" not null,
    ref text collate "C" not null,
    seq bigint generated always as identity,
    body jsonb not null,
    private jsonb,
    primary key (tenant, stream, ref)
) with (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);

-- Times to come. They turn into mail; nobody sleeps for them.
create table cxplane.timer (
    tenant text collate "C" not null,
    run text collate "C" not null,
    name text collate "C" not null,         -- token:what
    due timestamptz not null,
    fired boolean not null default false,
    primary key (tenant, run, name)
) with (autovacuum_vacuum_scale_factor = 0.02);
create index timer_due_idx on cxplane.timer (due) where not fired;

create table cxplane.listen (
    tenant text collate "C" not null,
    run text collate "C" not null,
    type text collate "C" not null,
    key text collate "C" not null,
    primary key (tenant, run, type, key)
) with (autovacuum_vacuum_scale_factor = 0.02);
create index listen_for_idx on cxplane.listen (tenant, type, key);

create table cxplane.signal (
    tenant text collate "C" not null,
    id text collate "C" not null,
    at timestamptz not null,
    primary key (tenant, id)
);
create index signal_at_idx on cxplane.signal (at);

-- Signals of the last days that a journey may listen for, for who comes to listen later. Each run hears each once; one that
-- came before a run began is for that run only if nobody has heard it.
create table cxplane.recent (
    tenant text collate "C" not null,
    type text collate "C" not null,
    key text collate "C" not null,
    position bigint not null,
    until timestamptz not null,
    heard boolean not null,
    body jsonb not null,
    private jsonb,
    primary key (tenant, type, key, position)
);
create index recent_until_idx on cxplane.recent (until);

create table cxplane.heard (
    tenant text collate "C" not null,
    run text collate "C" not null,
    position bigint not null,
    primary key (tenant, run, position)
);

create table cxplane.task (
    tenant text collate "C" not null,
    id text collate "C" not null,
    run text collate "C" not null,
    journey text not null,
    step text not null,
    what text not null,
    team text collate "C" not null,
    status text collate "C" not null,
    opened_at timestamptz not null,
    customer text,
    person text,
    action text,
    due timestamptz,
    escalated boolean not null default false,
    reminded_at timestamptz,
    answered_by text,
    answered_at timestamptz,
    told jsonb,                             -- text, choices, form, show
    answer jsonb,                           -- answer, comment
    primary key (tenant, id)
);
create index task_at_idx on cxplane.task (tenant, opened_at);
create index task_open_idx on cxplane.task (tenant, run) where status = 'open';

create function cxplane.fresh_epoch() returns bigint language sql volatile
return floor(random() * 9007199254740991)::bigint;

-- What is large and never searched is not looked into by ANALYZE.
alter table cxplane.run alter column input set statistics 0, alter column state set statistics 0;
alter table cxplane.inbox alter column body set statistics 0, alter column private set statistics 0;
alter table cxplane.recent alter column body set statistics 0, alter column private set statistics 0;
alter table cxplane.task alter column told set statistics 0, alter column answer set statistics 0;

-- Something is there for this run: if it rests, it gets busy and one wake-up is put into the queue. True if it rested.
create function cxplane.wake(t text, s text) returns boolean language plpgsql as $$
begin
    insert into cxplane.mailbox (tenant, stream) values (t, s)
        on conflict (tenant, stream) do update set busy = true where not mailbox.busy;
    if not found then
        return false;
    end if;
    insert into cxplane.pgqueuer (priority, entrypoint, payload, dedupe_key, status)
        values (0, 'leg', convert_to(jsonb_build_array(t || '|' || s, jsonb_build_object('tenant', t, 'run', s))::text, 'UTF8'),
            'leg|' || t || '|' || s, 'queued')
        on conflict (dedupe_key) where status = 'queued'::cxplane.pgqueuer_status and dedupe_key is not null do nothing;
    return true;
end $$;

-- Put something into the mailbox. The same thing twice is one; a run that has ended gets nothing. True if it was woken.
create function cxplane.post(t text, s text, r text, b jsonb, p jsonb) returns boolean language plpgsql as $$
begin
    perform 1 from cxplane.run where tenant = t and id = s and status in ('done', 'failed', 'cancelled');
    if found then
        return false;
    end if;
    insert into cxplane.inbox (tenant, stream, ref, body, private) values (t, s, r, b, p) on conflict do nothing;
    return cxplane.wake(t, s);
end $$;

-- How an entry changes runs. How many runs it reached: below zero where none of them rested.
create function cxplane.fold_run(e cxplane.entry) returns int language plpgsql as $$
declare
    b jsonb := e.body;
    n int := 0;
    woken int := 0;
    who record;
    mail jsonb;
begin
    case e.kind
    when 'run.started' then
        insert into cxplane.run (tenant, id, journey, release, status, started_at, updated_at, started_by, began,
            customer, conversation, key, parent, input)
        values (e.tenant, e.stream, b ->> 'journey', e.release, 'ready', e.at, e.at, b ->> 'started_by', e.position,
            b ->> 'customer', b ->> 'conversation', b ->> 'key', b ->> 'parent', e.private -> 'input')
        on conflict do nothing;
        return case when cxplane.post(e.tenant, e.stream, 'p' || e.position, '{"kind": "started"}', null) then 1 else -1 end;
    when 'run.advanced' then
        if b ? 'took' then
            delete from cxplane.inbox where tenant = e.tenant and stream = e.stream
                and ref in (select jsonb_array_elements_text(b -> 'took'));
        end if;
        update cxplane.run set status = b ->> 'status', updated_at = e.at, release = coalesce(e.release, release),
            at = coalesce((select array_agg(x) from jsonb_array_elements_text(b -> 'at') x), '{}'),
            waits = coalesce((select array_agg(x) from jsonb_array_elements_text(e.private -> 'waits') x), '{}'),
            error = b ->> 'error', next_due = (b ->> 'next_due')::timestamptz, state = e.private -> 'state'
            where tenant = e.tenant and id = e.stream;
        if b ? 'timers' then
            delete from cxplane.timer where tenant = e.tenant and run = e.stream;
            insert into cxplane.timer (tenant, run, name, due)
                select e.tenant, e.stream, x ->> 0, (x ->> 1)::timestamptz from jsonb_array_elements(b -> 'timers') x
                on conflict do nothing;
        end if;
        if b ? 'listens' then
            delete from cxplane.listen where tenant = e.tenant and run = e.stream;
            insert into cxplane.listen (tenant, run, type, key)
                select distinct e.tenant, e.stream, x ->> 0, x ->> 1 from jsonb_array_elements(b -> 'listens') x;
            with came as (
                update cxplane.recent a set heard = true from cxplane.listen l
                where l.tenant = e.tenant and l.run = e.stream and a.tenant = l.tenant and a.type = l.type and a.key = l.key
                    and a.until > e.at
                    and (not a.heard or a.position > (
                        select began from cxplane.run r where r.tenant = e.tenant and r.id = e.stream))
                    and not exists (select from cxplane.heard h
                        where h.tenant = e.tenant and h.run = e.stream and h.position = a.position)
                returning a.position, a.body, a.private
            ), noted as (
                insert into cxplane.heard (tenant, run, position) select e.tenant, e.stream, position from came
                on conflict do nothing
            )
            insert into cxplane.inbox (tenant, stream, ref, body, private)
                select e.tenant, e.stream, 'p' || position, body, private from came order by position on conflict do nothing;
        end if;
        if b ->> 'status' in ('done', 'failed', 'cancelled') then
            delete from cxplane.inbox where tenant = e.tenant and stream = e.stream;
            delete from cxplane.mailbox where tenant = e.tenant and stream = e.stream;
            delete from cxplane.heard where tenant = e.tenant and run = e.stream;
            for who in select parent from cxplane.run where tenant = e.tenant and id = e.stream and parent is not null loop
                if cxplane.post(e.tenant, who.parent, 'p' || e.position,
                        jsonb_build_object('kind', 'run', 'run', e.stream, 'status', b -> 'status'), e.private -> 'result') then
                    woken := 1;
                end if;
                n := 1;
            end loop;
        end if;
    when 'run.told' then
        n := 1;
        woken := cxplane.post(e.tenant, e.stream, 'p' || e.position, b || '{"kind": "told"}', e.private)::int;
    when 'signal' then
        insert into cxplane.signal (tenant, id, at) values (e.tenant, e.stream, e.at) on conflict do nothing;
        mail := b || jsonb_build_object('kind', 'signal', 'at', e.at);
        for who in select run from cxplane.listen where tenant = e.tenant and type = b ->> 'type' and key = b ->> 'key'
                order by run loop
            n := n + 1;
            insert into cxplane.heard (tenant, run, position) values (e.tenant, who.run, e.position) on conflict do nothing;
            if cxplane.post(e.tenant, who.run, 'p' || e.position, mail, e.private) then
                woken := woken + 1;
            end if;
        end loop;
        if b ? 'keep' or n > 0 or exists (
                select from cxplane.listen where tenant = e.tenant and type = b ->> 'type') then
            insert into cxplane.recent (tenant, type, key, position, until, heard, body, private)
                values (e.tenant, b ->> 'type', b ->> 'key', e.position, e.at + interval '7 days', n > 0 or b ? 'starts',
                    mail, e.private)
                on conflict do nothing;
        end if;
    when 'task.opened' then
        insert into cxplane.task (tenant, id, run, journey, step, what, team, status, opened_at, customer, person, action, due, told)
        values (e.tenant, b ->> 'task', e.stream, b ->> 'journey', b ->> 'step', b ->> 'what', b ->> 'team', 'open', e.at,
            b ->> 'customer', b ->> 'person', b ->> 'action', (b ->> 'due')::timestamptz, e.private)
        on conflict (tenant, id) do nothing;
    when 'task.moved' then
        update cxplane.task set
            status = case when b ->> 'how' in ('closed', 'defaulted') then b ->> 'how' else status end,
            team = case when b ->> 'how' = 'escalated' then coalesce(b ->> 'team', team) else team end,
            escalated = escalated or b ->> 'how' = 'escalated',
            reminded_at = case when b ->> 'how' = 'reminded' then e.at else reminded_at end
            where tenant = e.tenant and id = b ->> 'task' and status = 'open';
    when 'task.answered' then
        update cxplane.task set status = case when b ->> 'how' = 'defaulted' then 'defaulted' else 'answered' end,
            answered_by = b ->> 'by', answered_at = e.at, answer = e.private
            where tenant = e.tenant and id = b ->> 'task' and status = 'open';
        if not coalesce(e.takes ? 'leg', false) then
            n := 1;
            woken := cxplane.post(e.tenant, e.stream, 'p' || e.position,
                b || jsonb_build_object('kind', 'task', 'at', e.at), e.private)::int;
        end if;
    when 'outcome', 'approval.decided' then
        -- told to the run that asked, unless that run's own leg says it
        if not coalesce(e.takes ? 'leg', false) and (e.kind = 'outcome' or b ->> 'status' <> 'approved') then
            for who in select q.run from cxplane.request q where q.run is not null
                    and q.tenant = e.tenant and q.id = b ->> 'request' loop
                n := 1;
                woken := cxplane.post(e.tenant, who.run, 'p' || e.position,
                    jsonb_build_object('kind', 'request', 'request', b -> 'request'), null)::int;
            end loop;
        end if;
    else
        null;
    end case;
    return case when woken > 0 then n else -n end;
end $$;

-- The locks that appends take, in the same order: nobody waits in a circle.
create function cxplane.lock_runs(tenants text[], ids text[]) returns void language plpgsql as $$
declare
    one int;
begin
    for one in select distinct hashtext('r|' || t || '|' || i) as h from unnest(tenants, ids) as a (t, i) order by h loop
        perform pg_advisory_xact_lock(1668313452, one);
    end loop;
end $$;

-- Take runs over: each gets a fresh epoch, which voids whatever an earlier holder still wants to write. An epoch is a random
-- number, so that none is ever given twice, and taking need not wait for the disk: lost in a crash, it only means that the run
-- is taken once more. One answer a run: {e: epoch, o: the one before, …, m: [[ref, body, private]]}, or null where there is none.
create function cxplane.take_runs(tenants text[], ids text[]) returns setof jsonb language plpgsql as $$
declare
    one record;
    held bigint;
    before bigint;
    row_of record;
begin
    perform set_config('synchronous_commit', 'off', true);
    perform cxplane.lock_runs(tenants, ids);
    for one in select t, i from unnest(tenants, ids) with ordinality as a (t, i, n) order by n loop
        select epoch into before from cxplane.mailbox where tenant = one.t and stream = one.i;
        update cxplane.mailbox set epoch = cxplane.fresh_epoch(), busy = true, taken_at = clock_timestamp()
            where tenant = one.t and stream = one.i returning epoch into held;
        select r.*, (select hash from cxplane.release_name n where n.id = r.release) as hash into row_of
            from cxplane.run r where r.tenant = one.t and r.id = one.i;
        if not found or held is null then
            return next null;
            continue;
        end if;
        return next jsonb_build_object(
            'e', held, 'o', before, 'i', row_of.id, 'j', row_of.journey, 'l', row_of.hash, 's', row_of.status, 'a', row_of.started_at,
            'u', row_of.updated_at, 'b', row_of.started_by, 'c', row_of.customer, 'v', row_of.conversation, 'k', row_of.key,
            'p', row_of.parent, 'n', row_of.input, 'x', row_of.state, 'm', coalesce((
                select jsonb_agg(jsonb_build_array(ref, body, private) order by seq)
                from cxplane.inbox where tenant = one.t and stream = one.i), '[]'));
    end loop;
end $$;

-- Timers that are due become mail. How many; the earliest of those that are left; what the time is. One clock for all
-- workers: that of the store (`at` is for tests).
create function cxplane.fire_timers(at timestamptz, most int, out fired int, out next_due timestamptz, out now timestamptz)
language plpgsql as $$
declare
    one record;
    tenants text[];
    ids text[];
begin
    now := coalesce(at, clock_timestamp());
    fired := 0;
    select array_agg(tenant), array_agg(run) into tenants, ids
        from (select tenant, run from cxplane.timer where not timer.fired and due <= fire_timers.now order by due limit most) d;
    if tenants is not null then
        perform cxplane.lock_runs(tenants, ids);
        for one in
            update cxplane.timer t set fired = true from (select distinct a.t, a.i from unnest(tenants, ids) as a (t, i)) d
                where t.tenant = d.t and t.run = d.i and not t.fired and t.due <= fire_timers.now
                returning t.tenant, t.run, t.name, t.due
        loop
            perform cxplane.post(one.tenant, one.run, 't' || one.name,
                jsonb_build_object('kind', 'time', 'name', one.name, 'due', one.due), null);
            fired := fired + 1;
        end loop;
    end if;
    select min(due) into next_due from cxplane.timer t where not t.fired;
    delete from cxplane.recent where ctid in (select ctid from cxplane.recent where until < fire_timers.now limit 500);
end $$;

-- Runs that are marked busy with nobody at work on them: their wake-up was lost or given up. They are woken again.
create function cxplane.revive_runs(before timestamptz, most int) returns int language plpgsql as $$
declare
    one record;
    n int := 0;
begin
    for one in
        select m.tenant, m.stream from cxplane.mailbox m
        where m.busy and coalesce(m.taken_at, '-infinity') < before and not exists (
            select from cxplane.pgqueuer j where j.dedupe_key = 'leg|' || m.tenant || '|' || m.stream
                and j.status in ('queued', 'picked'))
        order by m.tenant, m.stream limit most for update of m skip locked
    loop
        update cxplane.mailbox set busy = false where tenant = one.tenant and stream = one.stream;
        perform cxplane.wake(one.tenant, one.stream);
        n := n + 1;
    end loop;
    return n;
end $$;
