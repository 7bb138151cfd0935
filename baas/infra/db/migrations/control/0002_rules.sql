-- What compiled rules call. Every function is total: it gives null where there is no value and never raises, because an error
-- in one hidden row would break a list, or tell that the row is there. All are immutable, so they serve in partial indexes too.

create schema baas_rt;

-- Integers within 64 bits.
create function baas_rt.i64(x numeric) returns int8 immutable parallel safe language sql as $$
    select case when x between -9223372036854775808 and 9223372036854775807 then x::int8 end
$$;
create function baas_rt.idiv(a int8, b int8) returns int8 immutable parallel safe language sql as $$
    select case when b <> 0 then baas_rt.i64(div(a::numeric, b::numeric)) end
$$;
create function baas_rt.imod(a int8, b int8) returns int8 immutable parallel safe language sql as $$
    select case when b <> 0 then mod(a::numeric, b::numeric)::int8 end
$$;

-- Doubles: PostgreSQL raises on overflow and on underflow, so operands stay far from both.
create function baas_rt.fadd(a float8, b float8) returns float8 immutable parallel safe language sql as $$
    select case when abs(a) < 1e300 and abs(b) < 1e300 then a + b end
$$;
create function baas_rt.fsub(a float8, b float8) returns float8 immutable parallel safe language sql as $$
    select case when abs(a) < 1e300 and abs(b) < 1e300 then a - b end
$$;
create function baas_rt.fmul(a float8, b float8) returns float8 immutable parallel safe language sql as $$
    select case when (a = 0 or abs(a) between 1e-150 and 1e150) and (b = 0 or abs(b) between 1e-150 and 1e150) then a * b end
$$;
create function baas_rt.fdiv(a float8, b float8) returns float8 immutable parallel safe language sql as $$
    select case when (a = 0 or abs(a) between 1e-150 and 1e150) and abs(b) between 1e-150 and 1e150 then a / b end
$$;
-- The double as the decimal it is written as; float8::numeric would round to 15 digits.
create function baas_rt.dec(x float8) returns numeric immutable parallel safe language sql as $$ select x::text::numeric $$;

-- Decimals of at most 400 digits before and after the point.
create function baas_rt.bounded(x numeric) returns numeric immutable parallel safe language sql as $$
    select case when abs(x) < ('1e400')::numeric and scale(x) <= 400 then x end
$$;
create function baas_rt.dbl(x numeric) returns float8 immutable parallel safe language sql as $$
    select case when x = 0 then 0::float8 when abs(x) >= ('1e-300')::numeric and abs(x) < ('1e300')::numeric then x::float8 end
$$;
create function baas_rt.parse_dec(x text) returns numeric immutable parallel safe language sql as $$
    select case when length(x) <= 400 and x ~ '^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$'
           then baas_rt.bounded(x::numeric) end
$$;
create function baas_rt.parse_int(x text) returns int8 immutable parallel safe language sql as $$
    select case when x ~ '^[+-]?[0-9]{1,30}$' then baas_rt.i64(x::numeric) end
$$;
create function baas_rt.parse_bool(x text) returns boolean immutable parallel safe language sql as $$
    select case when x in ('1', 't', 'T', 'true', 'TRUE', 'True') then true
                when x in ('0', 'f', 'F', 'false', 'FALSE', 'False') then false end
$$;
create function baas_rt.int_of(x float8) returns int8 immutable parallel safe language sql as $$
    select case when x > -9223372036854775808 and x < 9223372036854775808 then trunc(x)::int8 end
$$;

-- Times: microseconds since 1970 as numeric on the way, one microsecond short of the driver's two infinities at the ends.
create function baas_rt.ts(us numeric) returns timestamptz immutable parallel safe language sql as $$
    select case when us between -62135596799999999 and 253402300799999998
           then (timestamp '1970-01-01' + div(us, 1000000)::float8 * interval '1 second'
                 + mod(us, 1000000)::float8 * interval '1 microsecond') at time zone 'UTC' end
$$;
create function baas_rt.us(x timestamptz) returns numeric immutable parallel safe language sql as $$
    select extract(epoch from x) * 1000000
$$;
create function baas_rt.span(us numeric) returns int8 immutable parallel safe language sql as $$
    select case when abs(us) <= 315576000000000000 then us::int8 end
$$;
create function baas_rt.parse_ts(x text) returns timestamptz immutable parallel safe language sql as $$
    select case
        when x !~ '^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?([Zz]|[+-](0[0-9]|1[0-4]):[0-5][0-9])$'
            then null
        when x ~ '^0000' then null
        when substr(x, 9, 2)::int > extract(day from (make_date(substr(x, 1, 4)::int, substr(x, 6, 2)::int, 1)
                                                      + interval '1 month' - interval '1 day'))
            then null
        else baas_rt.ts(
            baas_rt.us(make_timestamp(substr(x, 1, 4)::int, substr(x, 6, 2)::int, substr(x, 9, 2)::int,
                                      substr(x, 12, 2)::int, substr(x, 15, 2)::int, substr(x, 18, 2)::int) at time zone 'UTC')
            + rpad(coalesce(substring(x from '\.([0-9]{1,6})'), '0'), 6, '0')::numeric
            - case when x ~ '[Zz]$' then 0
                   else (left(right(x, 5), 2)::numeric * 3600000000 + right(x, 2)::numeric * 60000000)
                        * case when left(right(x, 6), 1) = '-' then -1 else 1 end
              end)
        end
$$;
create function baas_rt.ts_text(x timestamptz) returns text immutable parallel safe language sql as $$
    select to_char(x at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS')
           || case when extract(microseconds from x)::int8 % 1000000 = 0 then ''
                   else rtrim(to_char(x at time zone 'UTC', '.US'), '0') end || 'Z'
$$;
create function baas_rt.span_text(x int8) returns text immutable parallel safe language sql as $$
    select case when x < 0 then '-' else '' end || (abs(x) / 1000000)::text
           || case when x % 1000000 = 0 then '' else rtrim('.' || lpad((abs(x) % 1000000)::text, 6, '0'), '0') end || 's'
$$;
-- The clock of a zone, by name or as an offset in microseconds. The name was found in the server's own list before it comes here;
-- the handler is for a database that does not know it.
create function baas_rt.local(x timestamptz, zone text) returns timestamp immutable parallel unsafe language plpgsql as $$
declare
    there timestamp;
begin
    if zone ~ '^[+-]?[0-9]{2}:[0-9]{2}$' then
        there := (x at time zone 'UTC') + (left(right(zone, 5), 2)::int * 60 + right(zone, 2)::int)
                 * case when zone like '-%' then -1 else 1 end * interval '1 minute';
    else
        there := x at time zone zone;
    end if;
    return case when there >= timestamp '0001-01-01' and there < timestamp '10000-01-01' then there end;
exception when data_exception then
    return null;
end
$$;

-- JSON: a value of the wrong type has no text, number or truth, and only an object has keys.
create function baas_rt.j_text(j jsonb) returns text immutable parallel safe language sql as $$
    select case when jsonb_typeof(j) = 'string' then j #>> '{}' end
$$;
create function baas_rt.j_num(j jsonb) returns numeric immutable parallel safe language sql as $$
    select case when jsonb_typeof(j) = 'number' then (j #>> '{}')::numeric end
$$;
create function baas_rt.j_bool(j jsonb) returns boolean immutable parallel safe language sql as $$
    select case j when 'true'::jsonb then true when 'false'::jsonb then false end
$$;
create function baas_rt.j_list(j jsonb) returns jsonb immutable parallel safe language sql as $$
    select case when jsonb_typeof(j) = 'array' then j end
$$;
create function baas_rt.j_order(a jsonb, b jsonb) returns int immutable parallel safe language sql as $$
    select case
        when a is null or b is null or jsonb_typeof(a) <> jsonb_typeof(b) then null
        when jsonb_typeof(a) = 'number' then sign(baas_rt.j_num(a) - baas_rt.j_num(b))::int
        when jsonb_typeof(a) = 'string' then case when a = b then 0 when (a #>> '{}') collate "C" < (b #>> '{}') then -1 else 1 end
        when jsonb_typeof(a) = 'boolean' then (a = 'true'::jsonb)::int - (b = 'true'::jsonb)::int end
$$;
create function baas_rt.j_has(j jsonb, key text) returns boolean immutable parallel safe language sql as $$
    select case when jsonb_typeof(j) = 'object' then j ? key end
$$;
create function baas_rt.j_at(j jsonb, i int8) returns jsonb immutable parallel safe language sql as $$
    select case when jsonb_typeof(j) = 'array' and i between 0 and 2147483646 then j -> i::int end
$$;
create function baas_rt.j_among(x jsonb, j jsonb) returns boolean immutable parallel safe language sql as $$
    select case when x is null then null
        when jsonb_typeof(j) = 'array' then exists (select from jsonb_array_elements(j) e(v) where e.v = x)
        when jsonb_typeof(j) = 'object' then jsonb_typeof(x) = 'string' and j ? (x #>> '{}') end
$$;
create function baas_rt.j_size(j jsonb) returns int8 immutable parallel safe language sql as $$
    select case jsonb_typeof(j)
        when 'string' then length(j #>> '{}')::int8
        when 'array' then jsonb_array_length(j)::int8
        when 'object' then (select count(*) from jsonb_object_keys(j)) end
$$;
create function baas_rt.j_int(j jsonb) returns int8 immutable parallel safe language sql as $$
    select case jsonb_typeof(j)
        when 'number' then baas_rt.i64(trunc(baas_rt.j_num(j))) when 'string' then baas_rt.parse_int(j #>> '{}') end
$$;
create function baas_rt.j_dec(j jsonb) returns numeric immutable parallel safe language sql as $$
    select case jsonb_typeof(j)
        when 'number' then baas_rt.bounded(baas_rt.j_num(j)) when 'string' then baas_rt.parse_dec(j #>> '{}') end
$$;
create function baas_rt.j_string(j jsonb) returns text immutable parallel safe language sql as $$
    select case when jsonb_typeof(j) in ('string', 'number', 'boolean') then j #>> '{}' end
$$;

-- Lists and text.
create function baas_rt.at(list anyarray, i int8) returns anyelement immutable parallel safe language sql as $$
    select case when i between 0 and 2147483646 then list[(i + 1)::int] end
$$;
create function baas_rt.like_text(x text) returns text immutable parallel safe language sql as $$
    select replace(replace(replace(x, '\', '\\'), '%', '\%'), '_', '\_')
$$;
