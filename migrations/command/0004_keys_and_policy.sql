-- Signing keys, compiled policies, and what the edges say they run.
SET ROLE gateward_owner;

CREATE TABLE auth_gateway.signing_keys (
    kid text PRIMARY KEY,
    alg text NOT NULL CHECK (alg IN ('EdDSA', 'ES256', 'RS256')),
    purpose text NOT NULL CHECK (purpose IN ('token')),
    phase text NOT NULL CHECK (phase IN ('published', 'active', 'retiring', 'retired')),
    public_jwk jsonb NOT NULL,
    -- Sealed under KEY_ENCRYPTION_KEY with the kid as associated data; gone once the key is retired.
    private_key_encrypted bytea,
    created_at timestamptz NOT NULL,
    activated_at timestamptz,
    retiring_at timestamptz,
    retired_at timestamptz,
    CHECK (phase = 'retired' OR private_key_encrypted IS NOT NULL)
);
-- At most one key signs; two origins that start at once cannot both make the first one.
CREATE UNIQUE INDEX signing_keys_one_active ON auth_gateway.signing_keys (purpose, alg) WHERE phase = 'active';

CREATE TABLE auth_gateway.policy_versions (
    version bigint PRIMARY KEY CHECK (version > 0),
    content_sha256 bytea NOT NULL CHECK (octet_length(content_sha256) = 32),
    content bytea NOT NULL,
    created_at timestamptz NOT NULL
);

-- One row, locked by whoever compiles, so that versions grow by one and in order.
CREATE TABLE auth_gateway.policy_head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version bigint NOT NULL CHECK (version >= 0),
    changed_at timestamptz NOT NULL
);
INSERT INTO auth_gateway.policy_head (version, changed_at) VALUES (0, now());

CREATE TABLE auth_gateway.edge_reports (
    edge_id text PRIMARY KEY CHECK (length(edge_id) BETWEEN 1 AND 128),
    policy_version bigint NOT NULL,
    reported_at timestamptz NOT NULL
);

RESET ROLE;
