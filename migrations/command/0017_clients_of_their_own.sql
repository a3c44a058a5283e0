-- Clients that act for themselves: how a client authenticates and which grants it may use, grants whose subject is a client, and
-- the assertions that clients have used up. Safe beside the version before: it writes none of the new columns, and what it writes
-- means what it meant.
SET ROLE gateward_owner;

ALTER TABLE auth_gateway.oauth_clients
    -- NULL: as its kind says, with a secret in either way or with none.
    ADD COLUMN token_endpoint_auth_method text
        CHECK (token_endpoint_auth_method IN ('none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt')),
    -- Public keys, as a JWK set (RFC 7517, 5).
    ADD COLUMN jwks jsonb CHECK (jsonb_typeof(jwks -> 'keys') = 'array'),
    ADD COLUMN grant_types text[] NOT NULL DEFAULT '{authorization_code,refresh_token}'
        CHECK (cardinality(grant_types) > 0
            AND grant_types <@ ARRAY['authorization_code', 'refresh_token', 'client_credentials']),
    ADD COLUMN id_token_signed_response_alg text NOT NULL DEFAULT 'EdDSA'
        CHECK (id_token_signed_response_alg IN ('EdDSA', 'RS256')),
    DROP CONSTRAINT oauth_clients_check,
    DROP CONSTRAINT oauth_clients_redirect_uris_check,
    ADD CONSTRAINT oauth_clients_proof CHECK (
        CASE WHEN token_endpoint_auth_method = 'private_key_jwt'
             THEN kind = 'confidential' AND secret_hash IS NULL AND jwks IS NOT NULL
             ELSE (kind = 'confidential') = (secret_hash IS NOT NULL) AND jwks IS NULL END),
    ADD CONSTRAINT oauth_clients_kind_of_method CHECK (
        token_endpoint_auth_method IS NULL OR (token_endpoint_auth_method = 'none') = (kind = 'public')),
    ADD CONSTRAINT oauth_clients_own_tokens CHECK (
        kind = 'confidential' OR NOT ('client_credentials' = ANY (grant_types))),
    ADD CONSTRAINT oauth_clients_redirect_uris CHECK (
        cardinality(redirect_uris) <= 32
        AND (cardinality(redirect_uris) > 0 OR NOT ('authorization_code' = ANY (grant_types))));
GRANT SELECT (token_endpoint_auth_method, jwks, grant_types, id_token_signed_response_alg)
    ON auth_gateway.oauth_clients TO gateward_auditor;

-- A grant without a person is a client's own; one without a refresh secret ends with its token.
ALTER TABLE auth_gateway.oauth_grants
    ALTER COLUMN user_id DROP NOT NULL,
    ALTER COLUMN refresh_secret_hash DROP NOT NULL,
    ADD CONSTRAINT oauth_grants_client_has_no_refresh CHECK (
        user_id IS NOT NULL OR (refresh_secret_hash IS NULL AND session_id IS NULL));
ALTER TABLE auth_gateway.oauth_tokens ALTER COLUMN user_id DROP NOT NULL;

-- A client's assertion counts once (RFC 7523, 3): its jti is remembered until it would be refused as too old anyway.
CREATE TABLE auth_gateway.client_assertions (
    client_id text NOT NULL REFERENCES auth_gateway.oauth_clients (client_id),
    jti_hash bytea NOT NULL CHECK (octet_length(jti_hash) = 32),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (client_id, jti_hash)
);
CREATE INDEX client_assertions_expiry ON auth_gateway.client_assertions (expires_at);
ALTER TABLE auth_gateway.client_assertions ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.client_assertions FORCE ROW LEVEL SECURITY;
CREATE POLICY system ON auth_gateway.client_assertions FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON auth_gateway.client_assertions TO gateward_system;
CREATE POLICY retention ON auth_gateway.client_assertions FOR ALL TO gateward_retention USING (true) WITH CHECK (false);
GRANT SELECT, UPDATE (jti_hash), DELETE ON auth_gateway.client_assertions TO gateward_retention;

RESET ROLE;
