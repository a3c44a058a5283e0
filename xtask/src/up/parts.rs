//! The parts of a local gateway: with which program, arguments and environment each is started.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use url::Url;

use super::part::{Plan, Ready};
use super::ports::Ports;
use super::record::{DemoClient, Issued, Record};
use super::secrets::{EDGE_ID, Secrets};
use super::workerd;
use crate::project::Project;
use crate::setup;
use crate::supervise::StopSignal;

/// Who the one-time sign-in link is for.
pub(crate) const OPERATOR: &str = "operator@example.test";

const COMMAND_DATABASE: &str = "gateward";
const READ_DATABASE: &str = "gateward_read";
const REGISTRY_DATABASE: &str = "gateward_registry";
const CLIENT_ID: &str = "demo-app";
const PROJECTS: [&str; 2] = ["notes", "captionacc"];
const SCOPES: [&str; 2] = ["notes:read", "notes:write"];

/// Where one gateway's files and ports are.
pub(crate) struct Places<'a> {
    pub(crate) project: &'a Project,
    pub(crate) ready: &'a setup::Ready,
    pub(crate) data: &'a Path,
    pub(crate) ports: &'a Ports,
    pub(crate) secrets: &'a Secrets,
}

fn local(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

impl Places<'_> {
    /// The log of a part.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.data.join("logs").join(format!("{name}.log"))
    }

    /// What `gateward` gets, for all its subcommands.
    pub(crate) fn environment(&self, database_url: Option<&str>) -> Result<BTreeMap<String, String>> {
        let (ports, secrets) = (self.ports, self.secrets);
        let embedded = format!(
            "postgres://{}:{}@127.0.0.1:{}/postgres",
            crate::postgres::SUPERUSER,
            secrets.postgres_password,
            ports.postgres
        );
        let admin = Url::parse(database_url.unwrap_or(&embedded)).context("--database-url is not a URL")?;
        let url = |login: Option<(&str, &str)>, database: &str| -> Result<String> {
            let mut url = admin.clone();
            if let Some((user, password)) = login {
                let accepted = url.set_username(user).and_then(|()| url.set_password(Some(password)));
                accepted
                    .map_err(|()| anyhow::anyhow!("--database-url takes no user; it must name a host"))?;
            }
            url.set_path(database);
            Ok(url.into())
        };
        let serve = Some(("gateward_serve", secrets.serve_password.as_str()));
        let forwarder = Some(("gateward_forward", secrets.forwarder_password.as_str()));
        let projector = Some(("gateward_project", secrets.projector_password.as_str()));
        let registrar = Some(("gateward_register", secrets.registrar_password.as_str()));
        // Stands for a place that the database's owner cannot write to; here everything is one person's.
        let checkpoints = self.data.join("checkpoints");
        std::fs::create_dir_all(&checkpoints)
            .with_context(|| format!("cannot create {}", checkpoints.display()))?;
        let pairs = [
            ("PORT", ports.origin.to_string()),
            ("BIND_ADDRESS", "127.0.0.1".to_owned()),
            ("ISSUER", local(ports.edge)),
            ("DATABASE_URL", url(serve, COMMAND_DATABASE)?),
            ("FORWARDER_DATABASE_URL", url(forwarder, COMMAND_DATABASE)?),
            ("READ_DATABASE_URL", url(projector, READ_DATABASE)?),
            ("REGISTRY_DATABASE_URL", url(registrar, REGISTRY_DATABASE)?),
            ("MIGRATION_DATABASE_URL", url(None, COMMAND_DATABASE)?),
            ("READ_MIGRATION_DATABASE_URL", url(None, READ_DATABASE)?),
            ("REGISTRY_MIGRATION_DATABASE_URL", url(None, REGISTRY_DATABASE)?),
            ("POLICY_SIGNING_KEY", secrets.policy_signing_key.clone()),
            ("AUDIT_SIGNING_KEY", secrets.audit_signing_key.clone()),
            ("AUDIT_CHECKPOINT_FILE", checkpoints.join("checkpoint").display().to_string()),
            ("EDGE_PUBLIC_KEYS", secrets.edge_public_keys()?),
            ("CODE_MAC_KEY", secrets.code_mac_key.clone()),
            ("KEY_ENCRYPTION_KEY", secrets.key_encryption_key.clone()),
            ("GATEWAY_JWT_SECRET", secrets.jwt_secret.clone()),
            ("WEBHOOK_SECRET", secrets.webhook_secret.clone()),
            ("SMTP_URL", format!("smtp://127.0.0.1:{}", ports.smtp)),
            ("MAIL_FROM", "Gateward <no-reply@example.test>".to_owned()),
            // What is tried out here runs on this machine.
            ("PRIVATE_ISSUER_HOSTS", "127.0.0.1,localhost".to_owned()),
            ("LOG_FORMAT", "text".to_owned()),
        ];
        Ok(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// `demo/gateward.toml` with this gateway's addresses.
    pub(crate) fn render_apply_file(&self) -> Result<PathBuf> {
        let template = self.project.path("demo/gateward.toml");
        let text = std::fs::read_to_string(&template)
            .with_context(|| format!("cannot read {}", template.display()))?;
        let text = text
            .replace("http://127.0.0.1:9100", &local(self.ports.upstream))
            .replace("http://127.0.0.1:9101", &local(self.ports.app));
        let path = self.data.join("gateward.toml");
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    fn plan(&self, name: &'static str, program: PathBuf, ready: Ready) -> Plan {
        Plan {
            name,
            program,
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            folder: self.project.root().to_path_buf(),
            log: self.log(name),
            identity: None,
            stop_signal: StopSignal::Term,
            grace: Duration::from_secs(10),
            ready,
            patience: Duration::from_mins(1),
        }
    }

    /// A demo service: a script of `demo/` with its environment.
    fn demo(&self, name: &'static str, port: u16, ready_path: &str, more: &[(&str, String)]) -> Plan {
        let mut plan = self.plan(name, "node".into(), Ready::Http(local(port) + ready_path));
        plan.arguments = vec![self.project.path(format!("demo/{name}.mjs")).into()];
        plan.environment.insert("PORT".to_owned(), port.to_string());
        plan.environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        plan
    }

    pub(crate) fn upstream(&self) -> Plan {
        self.demo("upstream", self.ports.upstream, "/_count", &[])
    }

    pub(crate) fn mailbox(&self) -> Plan {
        self.demo("mailbox", self.ports.mailbox, "/messages", &[("SMTP_PORT", self.ports.smtp.to_string())])
    }

    pub(crate) fn app(&self) -> Plan {
        let more = [
            ("ISSUER", local(self.ports.edge)),
            ("CLIENT_ID", CLIENT_ID.to_owned()),
            ("SCOPE", SCOPES.join(" ")),
        ];
        self.demo("app", self.ports.app, "/health", &more)
    }

    fn gateward(
        &self,
        name: &'static str,
        subcommand: &str,
        environment: &BTreeMap<String, String>,
        ready: Ready,
    ) -> Plan {
        let mut plan = self.plan(name, self.ready.gateward.clone(), ready);
        plan.arguments = vec![subcommand.into()];
        // What runs all the time has no administrator's password.
        let needed = environment.iter().filter(|(name, _)| !name.ends_with("MIGRATION_DATABASE_URL"));
        plan.environment = needed.map(|(name, value)| (name.clone(), value.clone())).collect();
        plan
    }

    pub(crate) fn origin(&self, environment: &BTreeMap<String, String>) -> Plan {
        self.gateward("origin", "serve", environment, Ready::Http(local(self.ports.origin) + "/ping"))
    }

    pub(crate) fn forwarder(&self, environment: &BTreeMap<String, String>) -> Plan {
        self.gateward("forwarder", "forward", environment, Ready::Running)
    }

    pub(crate) fn edge(&self) -> Result<Plan> {
        let folder = self.data.join("edge");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let configuration = folder.join("workerd.capnp");
        let layout = workerd::Layout {
            configuration: configuration.clone(),
            modules: folder.join("modules"),
            state: folder.join("state"),
            address: Ipv4Addr::LOCALHOST.into(),
            port: self.ports.edge,
        };
        workerd::write(&self.ready.edge, &layout)?;
        let mut plan =
            self.plan("edge", self.ready.workerd.clone(), Ready::Http(local(self.ports.edge) + "/ping"));
        plan.arguments = vec!["serve".into(), configuration.into()];
        let bindings = [
            ("ISSUER", local(self.ports.edge)),
            ("ORIGIN_URL", local(self.ports.origin)),
            ("EDGE_ID", EDGE_ID.to_owned()),
            ("EDGE_PRIVATE_KEY", self.secrets.edge_private_key.clone()),
            ("POLICY_PUBLIC_KEY", self.secrets.policy_public_key()?),
            ("CODE_MAC_KEY", self.secrets.code_mac_key.clone()),
            ("GATEWAY_JWT_SECRET", self.secrets.jwt_secret.clone()),
            ("CLIENT_ADDRESS", "peer".to_owned()),
        ];
        plan.environment = bindings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(plan)
    }

    /// What runs where, for people and scripts.
    pub(crate) fn record(
        &self,
        environment: BTreeMap<String, String>,
        issued: Issued,
        control_url: Option<String>,
    ) -> Record {
        let ports = self.ports;
        let Issued { service_token, api_key, sign_in_link } = issued;
        let value = |name: &str| environment.get(name).cloned().unwrap_or_default();
        Record {
            pid: std::process::id(),
            issuer: local(ports.edge),
            edge_url: local(ports.edge),
            origin_url: local(ports.origin),
            upstream_url: local(ports.upstream),
            mailbox_url: local(ports.mailbox),
            mailbox_smtp: format!("smtp://127.0.0.1:{}", ports.smtp),
            app_url: local(ports.app),
            control_url,
            database_url: value("MIGRATION_DATABASE_URL"),
            app_database_url: value("DATABASE_URL"),
            read_database_url: value("READ_MIGRATION_DATABASE_URL"),
            registry_database_url: value("REGISTRY_MIGRATION_DATABASE_URL"),
            sign_in_link,
            operator_email: OPERATOR.to_owned(),
            demo_client: DemoClient {
                client_id: CLIENT_ID.to_owned(),
                redirect_uri: local(ports.app) + "/callback",
                scopes: SCOPES.map(str::to_owned).to_vec(),
            },
            projects: PROJECTS.map(str::to_owned).to_vec(),
            service_token,
            api_key,
            processes: BTreeMap::new(),
            environment,
            gateward: self.ready.gateward.display().to_string(),
            data: self.data.display().to_string(),
        }
    }
}
