-- Row-level security: enabled and forced on every table of both schemas, and the privileges of the group roles.
--
-- `gateward_app` sees one workspace and one person, named by the settings of its transaction. Without them nullif() gives NULL
-- and there are no rows. The sub-select makes it an InitPlan: read once, and the index stays in use.
-- `gateward_system` runs the parts that belong to no tenant (sign-in, token endpoint, policy compiler, operator's commands).
-- Nobody may change or delete an event.
SET ROLE gateward_owner;


ALTER TABLE auth_gateway.workspaces ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.workspaces FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON auth_gateway.workspaces FOR SELECT TO gateward_app
    USING (id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid));
GRANT SELECT ON auth_gateway.workspaces TO gateward_app;
CREATE POLICY system ON auth_gateway.workspaces FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON auth_gateway.workspaces TO gateward_system;
CREATE POLICY auditor ON auth_gateway.workspaces FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.workspaces TO gateward_auditor;

ALTER TABLE auth_gateway.user_accounts ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.user_accounts FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON auth_gateway.user_accounts FOR ALL TO gateward_app
    USING (id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid))
    WITH CHECK (id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid));
GRANT SELECT, UPDATE ON auth_gateway.user_accounts TO gateward_app;
CREATE POLICY system ON auth_gateway.user_accounts FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON auth_gateway.user_accounts TO gateward_system;

ALTER TABLE auth_gateway.workspace_memberships ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.workspace_memberships FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON auth_gateway.workspace_memberships FOR ALL TO gateward_app
    USING (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid))
    WITH CHECK (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid));
CREATE POLICY app_2 ON auth_gateway.workspace_memberships FOR SELECT TO gateward_app
    USING (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid));
GRANT SELECT, INSERT, UPDATE, DELETE ON auth_gateway.workspace_memberships TO gateward_app;
CREATE POLICY system ON auth_gateway.workspace_memberships FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON auth_gateway.workspace_memberships TO gateward_system;
CREATE POLICY auditor ON auth_gateway.workspace_memberships FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.workspace_memberships TO gateward_auditor;

ALTER TABLE auth_gateway.projects ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.projects FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON auth_gateway.projects FOR ALL TO gateward_app
    USING (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid))
    WITH CHECK (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid));
GRANT SELECT, INSERT, UPDATE ON auth_gateway.projects TO gateward_app;
CREATE POLICY system ON auth_gateway.projects FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON auth_gateway.projects TO gateward_system;
CREATE POLICY auditor ON auth_gateway.projects FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.projects TO gateward_auditor;

ALTER TABLE auth_gateway.services ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.services FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON auth_gateway.services FOR ALL TO gateward_app
    USING (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid))
    WITH CHECK (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid));
GRANT SELECT, INSERT, UPDATE, DELETE ON auth_gateway.services TO gateward_app;
CREATE POLICY system ON auth_gateway.services FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON auth_gateway.services TO gateward_system;
CREATE POLICY auditor ON auth_gateway.services FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.services TO gateward_auditor;

ALTER TABLE auth_gateway.oauth_clients ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.oauth_clients FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON auth_gateway.oauth_clients FOR ALL TO gateward_app
    USING (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid))
    WITH CHECK (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid));
GRANT SELECT, INSERT, UPDATE ON auth_gateway.oauth_clients TO gateward_app;
CREATE POLICY system ON auth_gateway.oauth_clients FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON auth_gateway.oauth_clients TO gateward_system;
CREATE POLICY auditor ON auth_gateway.oauth_clients FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT (id, client_id, workspace_id, project_id, name, redirect_uris, scopes, kind, enabled, created_at, updated_at) ON auth_gateway.oauth_clients TO gateward_auditor;

ALTER TABLE auth_gateway.sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.sessions FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON auth_gateway.sessions FOR ALL TO gateward_app
    USING (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid))
    WITH CHECK (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid));
GRANT SELECT, UPDATE ON auth_gateway.sessions TO gateward_app;
CREATE POLICY system ON auth_gateway.sessions FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON auth_gateway.sessions TO gateward_system;

ALTER TABLE auth_gateway.sign_in_challenges ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.sign_in_challenges FORCE ROW LEVEL SECURITY;
CREATE POLICY system ON auth_gateway.sign_in_challenges FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON auth_gateway.sign_in_challenges TO gateward_system;

ALTER TABLE auth_gateway.rate_limits ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.rate_limits FORCE ROW LEVEL SECURITY;
CREATE POLICY system ON auth_gateway.rate_limits FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON auth_gateway.rate_limits TO gateward_system;

ALTER TABLE auth_gateway.authorization_requests ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.authorization_requests FORCE ROW LEVEL SECURITY;
CREATE POLICY system ON auth_gateway.authorization_requests FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON auth_gateway.authorization_requests TO gateward_system;

ALTER TABLE auth_gateway.oauth_consents ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.oauth_consents FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON auth_gateway.oauth_consents FOR ALL TO gateward_app
    USING (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid))
    WITH CHECK (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid));
CREATE POLICY app_2 ON auth_gateway.oauth_consents FOR SELECT TO gateward_app
    USING (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid));
GRANT SELECT, INSERT, UPDATE ON auth_gateway.oauth_consents TO gateward_app;
CREATE POLICY system ON auth_gateway.oauth_consents FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON auth_gateway.oauth_consents TO gateward_system;
CREATE POLICY auditor ON auth_gateway.oauth_consents FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.oauth_consents TO gateward_auditor;

ALTER TABLE auth_gateway.oauth_grants ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.oauth_grants FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON auth_gateway.oauth_grants FOR ALL TO gateward_app
    USING (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid))
    WITH CHECK (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid));
CREATE POLICY app_2 ON auth_gateway.oauth_grants FOR ALL TO gateward_app
    USING (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid))
    WITH CHECK (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid));
GRANT SELECT, UPDATE ON auth_gateway.oauth_grants TO gateward_app;
CREATE POLICY system ON auth_gateway.oauth_grants FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON auth_gateway.oauth_grants TO gateward_system;
CREATE POLICY auditor ON auth_gateway.oauth_grants FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT (id, workspace_id, user_id, client_id, session_id, scopes, audience, generation, rotated_at, auth_time, amr, created_at, expires_at, revoked_at, revoke_reason) ON auth_gateway.oauth_grants TO gateward_auditor;

ALTER TABLE auth_gateway.oauth_authorization_codes ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.oauth_authorization_codes FORCE ROW LEVEL SECURITY;
CREATE POLICY system ON auth_gateway.oauth_authorization_codes FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON auth_gateway.oauth_authorization_codes TO gateward_system;

ALTER TABLE auth_gateway.oauth_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.oauth_tokens FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON auth_gateway.oauth_tokens FOR SELECT TO gateward_app
    USING (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid));
CREATE POLICY app_2 ON auth_gateway.oauth_tokens FOR SELECT TO gateward_app
    USING (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid));
GRANT SELECT ON auth_gateway.oauth_tokens TO gateward_app;
CREATE POLICY system ON auth_gateway.oauth_tokens FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON auth_gateway.oauth_tokens TO gateward_system;
CREATE POLICY auditor ON auth_gateway.oauth_tokens FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.oauth_tokens TO gateward_auditor;

ALTER TABLE auth_gateway.revocations ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.revocations FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON auth_gateway.revocations FOR ALL TO gateward_app
    USING (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid))
    WITH CHECK (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid));
GRANT SELECT, INSERT, UPDATE ON auth_gateway.revocations TO gateward_app;
CREATE POLICY system ON auth_gateway.revocations FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON auth_gateway.revocations TO gateward_system;
CREATE POLICY auditor ON auth_gateway.revocations FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.revocations TO gateward_auditor;

ALTER TABLE auth_gateway.gateway_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.gateway_tokens FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON auth_gateway.gateway_tokens FOR ALL TO gateward_app
    USING (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid))
    WITH CHECK (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid));
GRANT SELECT, INSERT, UPDATE ON auth_gateway.gateway_tokens TO gateward_app;
CREATE POLICY system ON auth_gateway.gateway_tokens FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON auth_gateway.gateway_tokens TO gateward_system;
CREATE POLICY auditor ON auth_gateway.gateway_tokens FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.gateway_tokens TO gateward_auditor;

ALTER TABLE auth_gateway.signing_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.signing_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY system ON auth_gateway.signing_keys FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON auth_gateway.signing_keys TO gateward_system;
CREATE POLICY auditor ON auth_gateway.signing_keys FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT (kid, alg, purpose, phase, public_jwk, created_at, activated_at, retiring_at, retired_at) ON auth_gateway.signing_keys TO gateward_auditor;

ALTER TABLE auth_gateway.policy_versions ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.policy_versions FORCE ROW LEVEL SECURITY;
CREATE POLICY system ON auth_gateway.policy_versions FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, DELETE ON auth_gateway.policy_versions TO gateward_system;
CREATE POLICY auditor ON auth_gateway.policy_versions FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.policy_versions TO gateward_auditor;

ALTER TABLE auth_gateway.policy_head ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.policy_head FORCE ROW LEVEL SECURITY;
CREATE POLICY system ON auth_gateway.policy_head FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, UPDATE ON auth_gateway.policy_head TO gateward_system;
CREATE POLICY auditor ON auth_gateway.policy_head FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.policy_head TO gateward_auditor;

ALTER TABLE auth_gateway.edge_reports ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.edge_reports FORCE ROW LEVEL SECURITY;
CREATE POLICY system ON auth_gateway.edge_reports FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON auth_gateway.edge_reports TO gateward_system;
CREATE POLICY auditor ON auth_gateway.edge_reports FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.edge_reports TO gateward_auditor;

-- The platform workspace holds every person's events: there, a person sees their account's and their sessions' only.

ALTER TABLE auth_gateway.events ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.events FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON auth_gateway.events FOR ALL TO gateward_app
    USING (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid)
        AND (workspace_id <> '00000000-0000-0000-0000-000000000000'
            OR aggregate_id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid)
            OR aggregate_id IN (SELECT s.id FROM auth_gateway.sessions AS s WHERE s.user_id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid))))
    WITH CHECK (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid)
        AND (workspace_id <> '00000000-0000-0000-0000-000000000000'
            OR aggregate_id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid)
            OR aggregate_id IN (SELECT s.id FROM auth_gateway.sessions AS s WHERE s.user_id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid))));
GRANT SELECT, INSERT ON auth_gateway.events TO gateward_app;
CREATE POLICY system ON auth_gateway.events FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON auth_gateway.events TO gateward_system;
CREATE POLICY forwarder ON auth_gateway.events FOR ALL TO gateward_forwarder USING (true) WITH CHECK (true);
GRANT SELECT ON auth_gateway.events TO gateward_forwarder;
CREATE POLICY auditor ON auth_gateway.events FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.events TO gateward_auditor;

-- Whoever appends queues; only the forwarder reads and removes.

ALTER TABLE auth_gateway.outbox_destinations ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.outbox_destinations FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON auth_gateway.outbox_destinations FOR SELECT TO gateward_app
    USING (true);
GRANT SELECT (id, enabled) ON auth_gateway.outbox_destinations TO gateward_app;
CREATE POLICY system ON auth_gateway.outbox_destinations FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT ON auth_gateway.outbox_destinations TO gateward_system;
CREATE POLICY forwarder ON auth_gateway.outbox_destinations FOR ALL TO gateward_forwarder USING (true) WITH CHECK (true);
GRANT SELECT, UPDATE ON auth_gateway.outbox_destinations TO gateward_forwarder;
CREATE POLICY auditor ON auth_gateway.outbox_destinations FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.outbox_destinations TO gateward_auditor;

ALTER TABLE auth_gateway.outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.outbox FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON auth_gateway.outbox FOR INSERT TO gateward_app
    WITH CHECK (true);
GRANT INSERT (destination_id, lane, event_id) ON auth_gateway.outbox TO gateward_app;
CREATE POLICY system ON auth_gateway.outbox FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT INSERT (destination_id, lane, event_id) ON auth_gateway.outbox TO gateward_system;
CREATE POLICY forwarder ON auth_gateway.outbox FOR ALL TO gateward_forwarder USING (true) WITH CHECK (true);
GRANT SELECT, UPDATE, DELETE ON auth_gateway.outbox TO gateward_forwarder;
CREATE POLICY auditor ON auth_gateway.outbox FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.outbox TO gateward_auditor;

ALTER TABLE auth_gateway.outbox_lanes ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.outbox_lanes FORCE ROW LEVEL SECURITY;
CREATE POLICY forwarder ON auth_gateway.outbox_lanes FOR ALL TO gateward_forwarder USING (true) WITH CHECK (true);
GRANT SELECT, UPDATE ON auth_gateway.outbox_lanes TO gateward_forwarder;
CREATE POLICY auditor ON auth_gateway.outbox_lanes FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.outbox_lanes TO gateward_auditor;

ALTER TABLE auth_gateway.outbox_failed ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.outbox_failed FORCE ROW LEVEL SECURITY;
CREATE POLICY forwarder ON auth_gateway.outbox_failed FOR ALL TO gateward_forwarder USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON auth_gateway.outbox_failed TO gateward_forwarder;
CREATE POLICY auditor ON auth_gateway.outbox_failed FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.outbox_failed TO gateward_auditor;

ALTER TABLE auth_gateway.outbox_parked ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.outbox_parked FORCE ROW LEVEL SECURITY;
CREATE POLICY forwarder ON auth_gateway.outbox_parked FOR ALL TO gateward_forwarder USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON auth_gateway.outbox_parked TO gateward_forwarder;
CREATE POLICY auditor ON auth_gateway.outbox_parked FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.outbox_parked TO gateward_auditor;

ALTER TABLE security_service.projects ENABLE ROW LEVEL SECURITY;
ALTER TABLE security_service.projects FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON security_service.projects FOR ALL TO gateward_app
    USING (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid))
    WITH CHECK (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid));
GRANT SELECT, INSERT, UPDATE, DELETE ON security_service.projects TO gateward_app;
CREATE POLICY system ON security_service.projects FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON security_service.projects TO gateward_system;
CREATE POLICY auditor ON security_service.projects FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON security_service.projects TO gateward_auditor;

ALTER TABLE security_service.key_rotation_policies ENABLE ROW LEVEL SECURITY;
ALTER TABLE security_service.key_rotation_policies FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON security_service.key_rotation_policies FOR ALL TO gateward_app
    USING (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid))
    WITH CHECK (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid));
GRANT SELECT, INSERT, UPDATE, DELETE ON security_service.key_rotation_policies TO gateward_app;
CREATE POLICY system ON security_service.key_rotation_policies FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON security_service.key_rotation_policies TO gateward_system;
CREATE POLICY auditor ON security_service.key_rotation_policies FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON security_service.key_rotation_policies TO gateward_auditor;

ALTER TABLE security_service.mcp_tools ENABLE ROW LEVEL SECURITY;
ALTER TABLE security_service.mcp_tools FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON security_service.mcp_tools FOR ALL TO gateward_app
    USING (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid))
    WITH CHECK (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid));
GRANT SELECT, INSERT, UPDATE, DELETE ON security_service.mcp_tools TO gateward_app;
CREATE POLICY system ON security_service.mcp_tools FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON security_service.mcp_tools TO gateward_system;
CREATE POLICY auditor ON security_service.mcp_tools FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON security_service.mcp_tools TO gateward_auditor;

ALTER TABLE security_service.api_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE security_service.api_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON security_service.api_keys FOR ALL TO gateward_app
    USING (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid))
    WITH CHECK (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid));
GRANT SELECT, INSERT, UPDATE ON security_service.api_keys TO gateward_app;
CREATE POLICY system ON security_service.api_keys FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON security_service.api_keys TO gateward_system;
CREATE POLICY auditor ON security_service.api_keys FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT (id, workspace_id, project_id, user_id, name, prefix, scopes, status, created_at, expires_at, last_used_at, revoked_at) ON security_service.api_keys TO gateward_auditor;

ALTER TABLE security_service.key_usage_analytics ENABLE ROW LEVEL SECURITY;
ALTER TABLE security_service.key_usage_analytics FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON security_service.key_usage_analytics FOR ALL TO gateward_app
    USING (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid))
    WITH CHECK (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid));
GRANT SELECT ON security_service.key_usage_analytics TO gateward_app;
CREATE POLICY system ON security_service.key_usage_analytics FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON security_service.key_usage_analytics TO gateward_system;
CREATE POLICY auditor ON security_service.key_usage_analytics FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON security_service.key_usage_analytics TO gateward_auditor;

-- The audit log of OAuth is the events themselves; the view runs as whoever reads it, under their policies.
CREATE VIEW auth_gateway.oauth_audit_log WITH (security_invoker = true) AS
SELECT event_id, workspace_id, aggregate_type, aggregate_id, version, event_type, payload, metadata, occurred_at
FROM auth_gateway.events
WHERE aggregate_type IN ('client', 'grant', 'service_token', 'signing_key');
GRANT SELECT ON auth_gateway.oauth_audit_log TO gateward_app, gateward_system, gateward_auditor;

RESET ROLE;
