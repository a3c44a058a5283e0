//! The roles: groups that cannot log in, logins that can do nothing by themselves, and none that escapes row-level security.

use super::Seen;
use super::examination::{EveryStore, Examination, Place, Unexamined, refused};
use super::finding::Finding;
use crate::database::roles::GROUPS;

/// The groups that a store's own login is meant to be in, and no others.
fn groups_of(place: Place) -> &'static [&'static str] {
    match place {
        Place::Command => &["gateward_app", "gateward_system", "gateward_auditor", "gateward_retention"],
        Place::Read => &["gateward_projector"],
        Place::Registry => &["gateward_registrar"],
    }
}

pub(super) async fn check(e: &Examination) -> Result<Seen, Unexamined> {
    let mut stores = EveryStore::default();
    for place in Place::ALL {
        let looked = check_one(e, place, &mut stores.seen).await;
        stores.after(looked)?;
    }
    stores.seen()
}

async fn check_one(e: &Examination, place: Place, seen: &mut Seen) -> Result<(), Unexamined> {
    let mut scope = e.scope(place).await?;
    let name = place.name();
    let groups: Vec<String> = GROUPS.iter().map(|group| (*group).to_owned()).collect();
    let strong: Vec<String> = sqlx::query_scalar(
        "SELECT rolname::text || CASE WHEN rolsuper THEN ' is a superuser' WHEN rolbypassrls THEN ' bypasses row-level security'
                                      ELSE ' can log in' END
         FROM pg_roles WHERE rolname::text = ANY ($1) AND (rolsuper OR rolbypassrls OR rolcanlogin) ORDER BY 1",
    )
    .bind(&groups)
    .fetch_all(scope.connection())
    .await
    .map_err(refused(place))?;
    if !strong.is_empty() {
        seen.findings.push(Finding::failure(
            "role-privileged",
            name,
            strong.join("; "),
            "Take it away: ALTER ROLE … NOLOGIN NOSUPERUSER NOBYPASSRLS.",
        ));
    }
    // Whoever is in one of the groups, and the login itself. An administrator may act as the owner.
    let logins: Vec<(String, bool, bool, Vec<String>, bool)> = sqlx::query_as(
        "SELECT r.rolname::text, r.rolsuper OR r.rolbypassrls, r.rolinherit,
                ARRAY(SELECT g.rolname::text FROM pg_roles AS g JOIN pg_auth_members AS m ON m.roleid = g.oid
                      WHERE m.member = r.oid AND g.rolname::text = ANY ($1) ORDER BY 1),
                r.rolname = session_user
         FROM pg_roles AS r
         WHERE r.rolcanlogin
           AND (r.rolname = session_user OR EXISTS (
                SELECT FROM pg_auth_members AS m JOIN pg_roles AS g ON g.oid = m.roleid
                WHERE m.member = r.oid AND g.rolname::text = ANY ($1)))
         ORDER BY 1",
    )
    .bind(&groups)
    .fetch_all(scope.connection())
    .await
    .map_err(refused(place))?;
    for (login, is_strong, inherits, member_of, is_own) in logins {
        if member_of.iter().any(|group| group == "gateward_owner") && !is_own {
            continue;
        }
        if is_strong {
            seen.findings.push(Finding::failure(
                "login-privileged",
                login.as_str(),
                format!("it is a superuser or bypasses row-level security, and may act for the gateway in the {name}"),
                format!("ALTER ROLE \"{login}\" NOSUPERUSER NOBYPASSRLS; or give the gateway a login of its own."),
            ));
        }
        if !is_own {
            continue;
        }
        seen.facts.push(format!("{name}: {login} may act as {}", member_of.join(", ")));
        let more: Vec<&str> =
            member_of.iter().map(String::as_str).filter(|group| !groups_of(place).contains(group)).collect();
        if inherits || !more.is_empty() {
            let what = match (inherits, more.is_empty()) {
                (true, _) => "it has the rights of its groups without asking for them".to_owned(),
                _ => format!("it may also act as {}", more.join(", ")),
            };
            let action = format!(
                "ALTER ROLE \"{login}\" NOINHERIT; and REVOKE what it does not need. A login of one store should be good for that store only."
            );
            seen.findings.push(Finding::warning("login-privileged", login.as_str(), what, action));
        }
    }
    Ok(())
}
