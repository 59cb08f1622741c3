-- Runs at hand: a worker that starts a run begins with it at once, instead of putting a wake-up into the queue and taking it
-- out again. What it began and did not end goes into the queue when the worker says so, or shows no sign of life any more.

-- Workers that run journeys, by an id of their process. `seen_at`: their last sign of life.
create table cxplane.worker (
    tenant text collate "C" not null,
    id text collate "C" not null,
    seen_at timestamptz not null,
    primary key (tenant, id)
) with (fillfactor = 50);
select cxplane.guard_table('cxplane.worker');

-- Who has the run at hand while it is busy; null: a wake-up in the queue stands for it, or it rests.
alter table cxplane.mailbox add column worker text collate "C";

-- As before, but for a new run that its writer has at hand (the setting cxplane.at_hand: the worker, then each run and its
-- epoch): nobody else need be told of that.
create or replace function cxplane.wake(t text, s text) returns boolean language plpgsql as $$
declare
    at_hand text[] := nullif(current_setting('cxplane.at_hand', true), '')::text[];
    n int := array_position(at_hand, s, 2);
begin
    if n is not null then
        insert into cxplane.mailbox (tenant, stream, worker, epoch, taken_at)
            values (t, s, at_hand[1], at_hand[n + 1]::bigint, clock_timestamp())
            on conflict (tenant, stream) do nothing;
        if found then
            return false;
        end if;
    end if;
    insert into cxplane.mailbox (tenant, stream) values (t, s)
        on conflict (tenant, stream) do update set busy = true, worker = null where not mailbox.busy;
    if not found then
        return false;
    end if;
    insert into cxplane.pgqueuer (tenant, priority, entrypoint, payload, dedupe_key, status)
        values (t, 0, 'leg@' || t, convert_to(jsonb_build_array(s, jsonb_build_object('tenant', t, 'run', s))::text, 'UTF8'),
            'leg@' || t || '|' || s, 'queued')
        on conflict (dedupe_key) where status = 'queued'::cxplane.pgqueuer_status and dedupe_key is not null do nothing;
    return true;
end $$;

-- What these workers have at hand goes into the queue, as far as it is still busy. How many runs. Waits for what is being
-- written of them: with it a run may come to rest, or begin.
create function cxplane.let_go(t text, workers text[], runs text[]) returns int language plpgsql as $$
declare
    one text;
    n int := 0;
begin
    perform cxplane.lock_runs(array_fill(t, array[cardinality(runs)]), runs);
    for one in select stream from cxplane.mailbox where tenant = t and stream = any (runs) and worker = any (workers) and busy
            order by stream for update loop
        update cxplane.mailbox set busy = false where tenant = t and stream = one;
        n := n + cxplane.wake(t, one)::int;
    end loop;
    return n;
end $$;

-- A sign of life. `runs`: what this worker has had at hand for a while. Those of workers that gave none for the length of a
-- lease go into the queue, some at a time. How many other workers there are, and how many runs went.
create function cxplane.at_work(t text, me text, lease interval, runs text[], out others int, out woken int)
language plpgsql as $$
declare
    gone text[];
begin
    woken := 0;
    insert into cxplane.worker (tenant, id, seen_at) values (t, me, clock_timestamp())
        on conflict (tenant, id) do update set seen_at = excluded.seen_at;
    if cardinality(runs) > 0 then  -- one that is being written comes next time
        update cxplane.mailbox set taken_at = clock_timestamp() where tenant = t and stream in (
            select stream from cxplane.mailbox where tenant = t and stream = any (runs) and worker = me and busy
            for no key update skip locked);
    end if;
    gone := array(select id from cxplane.worker where tenant = t and id <> me and seen_at < clock_timestamp() - lease
        order by id for update skip locked);
    if gone <> '{}' then
        woken := cxplane.let_go(t, gone, array(
            select stream from cxplane.mailbox where tenant = t and worker = any (gone) and busy limit 500));
        delete from cxplane.worker w where tenant = t and id = any (gone) and not exists (
            select from cxplane.mailbox m where m.tenant = t and m.worker = w.id and m.busy);
    end if;
    select count(*) - 1 into others from cxplane.worker where tenant = t;
end $$;
