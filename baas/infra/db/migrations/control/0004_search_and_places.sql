-- What searches, places and vectors need. Extensions, where a server has them, stand in a schema of their own: everything names it.

create schema if not exists baas_ext;
grant usage on schema baas_ext to public;

-- The words of a list and of a document. PostgreSQL's own array_to_string is not immutable, because of types whose text depends
-- on settings; that of text does not.
create function baas_rt.list_words(list text[]) returns text immutable parallel safe language sql as $$
    select string_agg(item, ' ' order by at) from unnest(list) with ordinality each(item, at)
$$;
create function baas_rt.json_words(j jsonb) returns text immutable parallel safe language sql as $$
    select string_agg(word #>> '{}', ' ') from jsonb_path_query(j, 'strict $.** ? (@.type() == "string")') found(word)
$$;

-- A point on the earth in degrees. A composite type of our own: two numbers with names, which compare, index and print as a row
-- does, and leave as a JSON object. PostgreSQL's `point` has no equality, so nothing with a `point` can be unique or compared.
create type baas_rt.geo_point as (lat float8, lon float8);

create function baas_rt.geo(lat float8, lon float8) returns baas_rt.geo_point immutable parallel safe language sql as $$
    select case when lat between -90 and 90 and lon between -180 and 180 then row(lat + 0.0, lon + 0.0)::baas_rt.geo_point end
$$;
-- Metres along the great circle, to the millimetre, by the haversine formula on a sphere of the earth's mean radius (IUGG 1980,
-- for WGS 84: (2a + b) / 3 = 6371008.7714 m). Within 0.6 % of the ellipsoid. Angles under a ten-billionth of a degree count as
-- none, because PostgreSQL raises on underflow; `least` keeps rounding from leaving the domain of asin.
create function baas_rt.rad(degrees float8) returns float8 immutable parallel safe language sql as $$
    select case when abs(degrees) < 1e-10 then 0 else radians(degrees) end
$$;
create function baas_rt.distance(a baas_rt.geo_point, b baas_rt.geo_point) returns float8 immutable parallel safe language sql as $$
    select case when a is not null and b is not null then floor(12742017542.8 * asin(least(1, sqrt(
        sin(baas_rt.rad((b).lat - (a).lat) / 2) * sin(baas_rt.rad((b).lat - (a).lat) / 2)
        + cos(baas_rt.rad((a).lat)) * cos(baas_rt.rad((b).lat))
            * (sin(baas_rt.rad((b).lon - (a).lon) / 2) * sin(baas_rt.rad((b).lon - (a).lon) / 2))))) + 0.5) / 1000 end
$$;
