-- The role and the database of the service, which PostgreSQL's image makes once, on an empty volume.
-- With an existing PostgreSQL: psql --set ON_ERROR_STOP=1 --username postgres --file database.sql
\set password `cat /run/secrets/database-password`
CREATE ROLE cds LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
    PASSWORD :'password';
CREATE DATABASE cds OWNER cds;
REVOKE ALL ON DATABASE cds FROM PUBLIC;
