-- Many writes in one commit. Each is checked and folded in turn, so that two of one batch compete as two of two batches would.
--
-- `batch`: [{t: tenant, n: new request, x: [request, status], c: [action, key, request],
--            r: [[budget, scope, span, money, count, risk, limit money, limit count, limit risk, force]],
--            e: [{k: kind, s: stream, a: at, r: actor, l: release, c: cause, t: takes, b: body, p: private}]}]
-- `names`: what the batch may change, one text each: locked in one order everywhere, so planes never deadlock.
-- `settling`: requests whose reservations may be given back or whose undone request changes: (tenants, ids).
-- One answer a write, in order: {"p": [positions]} | {"taken": id} | {"moved": [id, status]} | {"key": [request, input_hash]}
--    | {"budget": [budget, limit, used, asked, allowed]}
create function cxplane.append(batch jsonb, names text[], settling_tenants text[], settling_ids text[])
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
    positions jsonb;
begin
    if cardinality(settling_ids) > 0 then
        select names || array_agg(name) into names from (
            select 'r|' || q.tenant || '|' || q.undoes as name
            from unnest(settling_tenants, settling_ids) as s (tenant, id)
            join cxplane.request q on q.tenant = s.tenant and q.id = s.id where q.undoes is not null
            union all
            select 'b|' || q.tenant || '|' || (v ->> 0) || '|' || (v ->> 1) || '|' || (v ->> 2)
            from unnest(settling_tenants, settling_ids) as s (tenant, id)
            join cxplane.request q on q.tenant = s.tenant and q.id = s.id
            cross join jsonb_array_elements(q.reserved) v where q.reserved is not null
            union all
            select 'k|' || q.tenant || '|' || q.action || '|' || q.key
            from unnest(settling_tenants, settling_ids) as s (tenant, id)
            join cxplane.request q on q.tenant = s.tenant and q.id = s.id where q.key is not null
        ) more;
    end if;
    select array_agg(distinct hashtext(name) order by hashtext(name)) into locks from unnest(names) name;
    foreach one in array coalesce(locks, '{}') loop
        perform pg_advisory_xact_lock(1668313452, one);
    end loop;
    -- tells readers that positions from here on may still be on their way (see settled)
    perform pg_advisory_xact_lock_shared(1668313453, (last_value & 2147483647)::int) from cxplane.entry_position;

    for w in select value from jsonb_array_elements(batch) loop
        wt := w ->> 't';
        answer := null;
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
        if w ? 'c' or w ? 'r' then
            select array_agg(x -> 'b' ->> 'request') into freed from jsonb_array_elements(w -> 'e') x
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
        for e in
            insert into cxplane.entry (position, at, tenant, stream, kind, actor, release, cause, takes, body, private)
            select nextval('cxplane.entry_position'), x.a, wt, x.s, x.k, x.r,
                (select id from cxplane.release_name where hash = x.l), x.c, x.t, x.b, x.p
            from jsonb_to_recordset(w -> 'e')
                as x (k text, s text, a timestamptz, r text, l text, c text, t jsonb, b jsonb, p jsonb)
            returning *
        loop
            positions := positions || to_jsonb(e.position);
            perform cxplane.fold(e);
        end loop;
        return next jsonb_build_object('p', positions);
    end loop;
end $$;

-- The first limit that these reservations would pass, counting what the freed requests give back; null if none.
create function cxplane.beyond(t text, reserve jsonb, freed text[]) returns jsonb language plpgsql as $$
declare
    v record;
    u record;
    g record;
begin
    -- a counter that is asked twice in one write is asked for the sum up to that row
    for v in
        select x ->> 0 as budget, x ->> 1 as scope, x ->> 2 as span,
            sum((x ->> 3)::bigint) over sofar as money, sum((x ->> 4)::bigint) over sofar as count,
            sum((x ->> 5)::bigint) over sofar as risk,
            (x ->> 6)::bigint as most_money, (x ->> 7)::bigint as most_count, (x ->> 8)::bigint as most_risk,
            coalesce((x ->> 9)::boolean, false) as force
        from jsonb_array_elements(reserve) with ordinality as all_of (x, n)
        window sofar as (partition by x ->> 0, x ->> 1, x ->> 2 order by n)
        order by n
    loop
        continue when v.force;
        select coalesce(sum(money), 0) as money, coalesce(sum(count), 0) as count, coalesce(sum(risk), 0) as risk into u
            from cxplane.budget_use where tenant = t and budget = v.budget and scope = v.scope and span = v.span;
        if freed is not null then
            select coalesce(sum((y ->> 3)::bigint), 0) as money, coalesce(sum((y ->> 4)::bigint), 0) as count,
                coalesce(sum((y ->> 5)::bigint), 0) as risk into g
            from cxplane.request q cross join jsonb_array_elements(q.reserved) y
            where q.tenant = t and q.id = any (freed) and q.reserved is not null
                and y ->> 0 = v.budget and y ->> 1 = v.scope and y ->> 2 = v.span;
            u.money := u.money - g.money;
            u.count := u.count - g.count;
            u.risk := u.risk - g.risk;
        end if;
        if u.money + v.money > v.most_money then
            return jsonb_build_array(v.budget, 'money', u.money, v.money, v.most_money);
        end if;
        if u.count + v.count > v.most_count then
            return jsonb_build_array(v.budget, 'count', u.count, v.count, v.most_count);
        end if;
        if u.risk + v.risk > v.most_risk then
            return jsonb_build_array(v.budget, 'risk', u.risk, v.risk, v.most_risk);
        end if;
    end loop;
    return null;
end $$;

-- The last position below which nothing can appear any more. Writers hold a shared lock that says where the sequence stood
-- before they took positions; a lock is released after its rows can be seen. Therefore, in this order: where the sequence
-- stands, which locks are held, and only then (by the caller, in a new snapshot) the rows.
create function cxplane.settled() returns bigint language plpgsql volatile as $$
declare
    top bigint;
    low bigint;
begin
    select case when is_called then last_value else 0 end into top from cxplane.entry_position;
    select min(top - lag) into low from (
        select (top - objid::bigint) & 2147483647 as lag from pg_locks
        where locktype = 'advisory' and classid = 1668313453 and objsubid = 2
            and database = (select oid from pg_database where datname = current_database())
    ) held where lag < 1073741824;
    return coalesce(low, top);
end $$;

create function cxplane.entries_after(t text, after bigint, k text, s text, n int)
returns setof cxplane.entry language plpgsql volatile rows 100 as $$
declare
    top bigint := cxplane.settled();
begin
    if s is not null then
        return query select * from cxplane.entry where stream = s and tenant = t and position > after and position <= top
            and (k is null or kind = k) order by position limit n;
    elsif k is null or k in ('request', 'decision', 'intent', 'outcome') then
        return query select * from cxplane.entry where tenant = t and position > after and position <= top
            and (k is null or kind = k) order by position limit n;
    else
        return query select * from cxplane.entry where tenant = t and kind = k
            and kind not in ('request', 'decision', 'intent', 'outcome')
            and position > after and position <= top order by position limit n;
    end if;
end $$;

-- Fold everything again from the journal. Nothing else may write this tenant meanwhile.
create function cxplane.rebuild(t text) returns bigint language plpgsql as $$
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
    for e in select * from cxplane.entry where tenant = t order by position loop
        perform cxplane.fold(e);
        n := n + 1;
    end loop;
    return n;
end $$;
