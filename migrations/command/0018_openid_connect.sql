-- What OpenID Connect adds to an authorization request. Safe beside the version before: it writes none of it, and goes by none.
SET ROLE gateward_owner;

ALTER TABLE auth_gateway.authorization_requests
    -- The person must have proved who they are since then (`prompt=login`, `max_age`).
    ADD COLUMN authenticated_since timestamptz,
    -- `none`: nothing may be asked. `consent`: consent is asked for whatever was allowed before.
    ADD COLUMN prompt text CHECK (prompt IN ('none', 'consent')),
    -- An address to begin with; it goes with the request.
    ADD COLUMN login_hint text CHECK (length(login_hint) <= 254);

RESET ROLE;
