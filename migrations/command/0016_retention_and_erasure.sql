-- What is long over goes, and a person can be forgotten. Safe beside the version before: it never reads an erased account's address,
-- and goes on sweeping a few rows with its own requests.
SET ROLE gateward_owner;

-- An erased account keeps its id and nothing of the person. Without the salt, no commitment in an event can be opened any more.
ALTER TABLE auth_gateway.user_accounts
    ALTER COLUMN email DROP NOT NULL,
    ALTER COLUMN email_salt DROP NOT NULL,
    ADD CONSTRAINT user_accounts_erased
        CHECK (CASE WHEN status = 'erased' THEN email IS NULL AND email_salt IS NULL AND display_name IS NULL
                    ELSE email IS NOT NULL AND email_salt IS NOT NULL END);

-- Sweeping looks for the oldest, and a foreign key looks for whoever still points at what goes.
CREATE INDEX sessions_over ON auth_gateway.sessions (coalesce(ended_at, absolute_expires_at));
CREATE INDEX oauth_grants_over ON auth_gateway.oauth_grants (coalesce(revoked_at, expires_at));
CREATE INDEX oauth_grants_of_session ON auth_gateway.oauth_grants (session_id);
CREATE INDEX authorization_requests_of_session ON auth_gateway.authorization_requests (session_id);
CREATE INDEX oauth_authorization_codes_of_session ON auth_gateway.oauth_authorization_codes (session_id);
CREATE INDEX gateway_tokens_expiry ON auth_gateway.gateway_tokens (expires_at);
CREATE INDEX oauth_consents_revoked ON auth_gateway.oauth_consents (revoked_at) WHERE revoked_at IS NOT NULL;

-- The sweeper may delete what can be over, and see nothing else. Locking a row before deleting it takes the right to update a column.
GRANT USAGE ON SCHEMA auth_gateway TO gateward_retention;
CREATE POLICY retention ON auth_gateway.authorization_requests FOR ALL TO gateward_retention USING (true) WITH CHECK (false);
GRANT SELECT (id, session_id, expires_at), UPDATE (id), DELETE ON auth_gateway.authorization_requests TO gateward_retention;
CREATE POLICY retention ON auth_gateway.oauth_authorization_codes FOR ALL TO gateward_retention USING (true) WITH CHECK (false);
GRANT SELECT (code_hash, session_id, expires_at), UPDATE (code_hash), DELETE
    ON auth_gateway.oauth_authorization_codes TO gateward_retention;
CREATE POLICY retention ON auth_gateway.oauth_tokens FOR ALL TO gateward_retention USING (true) WITH CHECK (false);
GRANT SELECT (jti, grant_id, expires_at), UPDATE (jti), DELETE ON auth_gateway.oauth_tokens TO gateward_retention;
CREATE POLICY retention ON auth_gateway.oauth_grants FOR ALL TO gateward_retention USING (true) WITH CHECK (false);
GRANT SELECT (id, session_id, expires_at, revoked_at), UPDATE (id), DELETE ON auth_gateway.oauth_grants TO gateward_retention;
CREATE POLICY retention ON auth_gateway.oauth_consents FOR ALL TO gateward_retention USING (true) WITH CHECK (false);
GRANT SELECT (user_id, client_id, revoked_at), UPDATE (user_id), DELETE ON auth_gateway.oauth_consents TO gateward_retention;
CREATE POLICY retention ON auth_gateway.sessions FOR ALL TO gateward_retention USING (true) WITH CHECK (false);
GRANT SELECT (id, ended_at, absolute_expires_at), UPDATE (id), DELETE ON auth_gateway.sessions TO gateward_retention;
CREATE POLICY retention ON auth_gateway.sign_in_challenges FOR ALL TO gateward_retention USING (true) WITH CHECK (false);
GRANT SELECT (id, expires_at), UPDATE (id), DELETE ON auth_gateway.sign_in_challenges TO gateward_retention;
CREATE POLICY retention ON auth_gateway.revocations FOR ALL TO gateward_retention USING (true) WITH CHECK (false);
GRANT SELECT (kind, value, expires_at), UPDATE (kind), DELETE ON auth_gateway.revocations TO gateward_retention;
CREATE POLICY retention ON auth_gateway.gateway_tokens FOR ALL TO gateward_retention USING (true) WITH CHECK (false);
GRANT SELECT (jti, expires_at), UPDATE (jti), DELETE ON auth_gateway.gateway_tokens TO gateward_retention;
CREATE POLICY retention ON auth_gateway.rate_limits FOR ALL TO gateward_retention USING (true) WITH CHECK (false);
GRANT SELECT (key, tat), UPDATE (key), DELETE ON auth_gateway.rate_limits TO gateward_retention;

-- Erasure takes out what the person left behind.
GRANT DELETE ON auth_gateway.oauth_consents TO gateward_system;

RESET ROLE;
