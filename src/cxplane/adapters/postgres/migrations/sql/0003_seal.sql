create function cxplane.release_json(r int) returns text language plpgsql stable parallel safe as $$
begin
    if r is null then
        return 'null';
    end if;
    return (select to_json(hash)::text from cxplane.release_name where id = r);
end $$;

-- The line of an entry: one CloudEvent in JSON, without a line end. Made here and nowhere else, so that its bytes are the same
-- whenever they are asked for: what is sealed, exported and verified. Never change what it gives for an entry that exists.
-- In SQL without a subquery, so that it becomes part of the query that asks (half the time).
create function cxplane.line(e cxplane.entry) returns text language sql stable parallel safe
return concat(
    '{"specversion":"1.0","id":"', e.position,
    '","source":', to_json('/cxplane/' || e.tenant),
    ',"type":', to_json('cxplane.' || e.kind),
    ',"subject":', to_json(e.stream),
    ',"time":"', to_char(e.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    '","datacontenttype":"application/json","data":{"actor":', to_json(e.actor),
    ',"release":', cxplane.release_json(e.release),
    ',"cause":', coalesce(to_json(e.cause)::text, 'null'),
    ',"takes":', coalesce(e.takes::text, 'null'),
    ',"body":', e.body,
    ',"private":', coalesce(e.private::text, 'null'), '}}'
);

-- Its leaf in the tree (RFC 6962, 2.1).
create function cxplane.leaf(e cxplane.entry) returns bytea language sql stable parallel safe
return sha256('\x00'::bytea || convert_to(cxplane.line(e), 'UTF8'));

-- How far the record of a tenant is sealed. One row, moved forward by whoever signs; a tenant that was never sealed has none.
create table cxplane.seal (
    tenant text collate "C" not null primary key,
    origin text not null,           -- the name of the tree, as its checkpoints say it
    size bigint not null,           -- leaves
    position bigint not null,       -- of the last entry in it
    frontier bytea not null,        -- roots of the complete trees that make it up, largest first, 32 bytes each
    note text not null,             -- the last checkpoint, signed
    at timestamptz not null
) with (fillfactor = 50);

-- Every checkpoint that was signed: the root of the first `size` leaves.
create table cxplane.checkpoint (
    tenant text collate "C" not null,
    origin text not null,
    size bigint not null,
    at timestamptz not null,
    note text not null,
    primary key (tenant, origin, size)
);

-- Hashes of complete trees of 256^level leaves, 256 of them in one row; the last row of a level grows.
create table cxplane.tile (
    tenant text collate "C" not null,
    level int not null,
    n bigint not null,
    first bigint,                   -- level 0: the position of its first entry
    hashes bytea not null check (octet_length(hashes) between 32 and 8192 and octet_length(hashes) % 32 = 0),
    primary key (tenant, level, n)
) with (fillfactor = 50);
alter table cxplane.tile alter column hashes set storage external;  -- hashes do not compress
create index tile_first_idx on cxplane.tile (tenant, first) where level = 0;

-- Settled entries that are not sealed yet, as leaves: at most `most`. No entries: nulls.
create function cxplane.seal_next(t text, most int, out size bigint, out positions bigint[], out leaves bytea)
language plpgsql volatile as $$
declare
    top bigint := cxplane.settled();
    last bigint;
begin
    select s.size, s.position into size, last from cxplane.seal s where tenant = t;
    size := coalesce(size, 0);
    select array_agg(x.position order by x.position), string_agg(x.leaf, ''::bytea order by x.position)
        into positions, leaves from (
            select e.position, cxplane.leaf(e) as leaf from cxplane.entry e
            where e.tenant = t and e.position > coalesce(last, 0) and e.position <= top order by e.position limit most
        ) x;
end $$;

-- One step forward, or false if somebody else took it: the tree no longer has the size that it had.
-- `tiles`: level, n, first position and the hashes to be added to each tile.
create function cxplane.seal_move(t text, origin text, was bigint, size bigint, "position" bigint, frontier bytea, note text,
    at timestamptz, levels int[], ns bigint[], firsts bigint[], hashes bytea[])
returns boolean language plpgsql as $$
begin
    if was = 0 then
        insert into cxplane.seal values (t, origin, size, "position", frontier, note, at) on conflict do nothing;
    else
        update cxplane.seal s set size = seal_move.size, position = seal_move."position", frontier = seal_move.frontier,
            note = seal_move.note, at = seal_move.at
            where s.tenant = t and s.origin = seal_move.origin and s.size = was;
    end if;
    if not found then
        return false;
    end if;
    insert into cxplane.tile as old (tenant, level, n, first, hashes)
        select t, x.level, x.n, x.first, x.hashes from unnest(levels, ns, firsts, hashes) as x (level, n, first, hashes)
        on conflict (tenant, level, n) do update set hashes = old.hashes || excluded.hashes;
    insert into cxplane.checkpoint values (t, origin, size, at, note);
    return true;
end $$;

-- The first leaf of these tiles that its entry does not give any more; null if all do.
create function cxplane.seal_differs(t text, from_tile bigint, to_tile bigint) returns bigint
language plpgsql stable as $$
declare
    sealed bigint;
    here record;
    past bigint;
    now_is bytea;
    i int;
begin
    select position into sealed from cxplane.seal where tenant = t;
    for here in
        select n, first, hashes, octet_length(hashes) / 32 as count from cxplane.tile
        where tenant = t and level = 0 and n between from_tile and to_tile order by n
    loop
        select first into past from cxplane.tile where tenant = t and level = 0 and n = here.n + 1;
        select string_agg(x.leaf, ''::bytea order by x.position) into now_is from (
            select e.position, cxplane.leaf(e) as leaf from cxplane.entry e
            where e.tenant = t and e.position >= here.first and e.position < coalesce(past, sealed + 1)
            order by e.position limit 257
        ) x;
        if now_is is distinct from here.hashes then
            for i in 0 .. here.count - 1 loop
                if substr(coalesce(now_is, ''), i * 32 + 1, 32) <> substr(here.hashes, i * 32 + 1, 32) then
                    return here.n * 256 + i;
                end if;
            end loop;
            return here.n * 256 + here.count;
        end if;
    end loop;
    return null;
end $$;
