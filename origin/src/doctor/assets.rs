//! What there is: API keys by their state, projects, clients and what the read tables hold. Counted, so that somebody who knows roughly how
//! much there ought to be sees it; a schema that cannot be read is a finding.

use super::Seen;
use super::examination::{Examination, Place, Unexamined, refused};

pub(super) async fn check(e: &Examination) -> Result<Seen, Unexamined> {
    let mut seen = Seen::default();
    let mut scope = e.scope(Place::Command).await?;
    let counts: (i64, i64, i64, i64, i64, i64, i64) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE status = 'active' AND (expires_at IS NULL OR expires_at > $1)),
                count(*) FILTER (WHERE status = 'active' AND expires_at <= $1),
                count(*) FILTER (WHERE status = 'rotating'), count(*) FILTER (WHERE status = 'revoked'),
                (SELECT count(*) FROM security_service.projects),
                (SELECT count(*) FROM security_service.key_rotation_policies),
                (SELECT count(*) FROM security_service.mcp_tools)
         FROM security_service.api_keys",
    )
    .bind(e.clock.now())
    .fetch_one(scope.connection())
    .await
    .map_err(refused(Place::Command))?;
    let (active, expired, rotating, revoked, projects, policies, tools) = counts;
    seen.facts.push(format!(
        "security_service: {active} API keys active, {expired} expired, {rotating} rotating, {revoked} revoked; {projects} projects, \
         {policies} rotation policies, {tools} tools"
    ));
    let (projects, clients, about): (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM projects), (SELECT count(id) FROM oauth_clients),
                (SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'events'::regclass)",
    )
    .fetch_one(scope.connection())
    .await
    .map_err(refused(Place::Command))?;
    seen.facts.push(format!("auth_gateway: {projects} projects, {clients} clients, about {about} events"));
    drop(scope);
    // What only the other stores can tell, where they are there.
    for (place, query) in [
        (
            Place::Read,
            "SELECT 'auth_events: about ' || greatest(reltuples, 0)::bigint || ' events' FROM pg_class WHERE oid = 'public.auth_events'::regclass",
        ),
        (
            Place::Registry,
            "SELECT 'registry: ' || (SELECT count(*) FROM public.projects) || ' projects, ' || (SELECT count(*) FROM public.oauth_clients) || ' clients'",
        ),
    ] {
        let Ok(mut scope) = e.scope(place).await else { continue };
        let fact: String =
            sqlx::query_scalar(query).fetch_one(scope.connection()).await.map_err(refused(place))?;
        seen.facts.push(fact);
    }
    Ok(seen)
}
