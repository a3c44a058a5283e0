//! What `up` prints when everything runs.

use super::record::Record;

/// The text for people.
pub(crate) fn text(record: &Record) -> String {
    let Record { edge_url, app_url, mailbox_url, sign_in_link, service_token, api_key, data, .. } = record;
    format!(
        "
Gateward is up at {edge_url}

  Sign in (once, as {operator}):  {sign_in_link}
  A web app that signs in with it:  {app_url}
  The mail that it sends:           {mailbox_url}

  Try it:
    curl -i {edge_url}/ping
    curl -i -H 'Authorization: Bearer {service_token}' {edge_url}/captionacc/prefect/flows
    curl -i -H 'X-API-Key: {api_key}' {edge_url}/notes/api/hello
    curl -i {edge_url}/captionacc/prefect/flows     # refused: no token

  Operate it:  cargo xtask gateward token list
  Logs: {data}/logs
  Stop: Ctrl-C

",
        operator = record.operator_email
    )
}
