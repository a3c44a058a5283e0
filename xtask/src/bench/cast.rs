//! Who is measured: the edge with three policies, and the JavaScript workers beside it, each with what it needs to run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use shared::base64url;
use shared::code::CodeKey;
use shared::gcra::Quota;
use shared::jwt::{Jwk, SigningKey};
use shared::policy::{Limits, Policy, RevocationFilter};

use super::backend::{Backend, SignedPolicy};
use super::stage::Worker;
use super::tokens::{ISSUER, Mint};
use crate::entropy;
use crate::project::Project;
use crate::setup::{self, node};

/// Makes the policy for an upstream at this address, with the filter that it names.
type MakePolicy<'a> = &'a dyn Fn(&str) -> Result<(Policy, Option<RevocationFilter>)>;

/// Everything that can be put on a stage.
pub(crate) struct Cast {
    /// workerd's binary.
    pub(crate) workerd: PathBuf,
    /// Where its configuration is written.
    pub(crate) folder: PathBuf,
    /// The folder with the edge's modules.
    pub(crate) edge: PathBuf,
    /// The key of codes of every edge here.
    pub(crate) code_key: CodeKey,
    workers: Vec<Worker>,
}

impl Cast {
    /// Builds what is measured, and starts what stands behind it.
    pub(crate) fn gather(project: &Project, mint: &Mint) -> Result<Self> {
        let ready = setup::all(project)?;
        let packages = node::install_in(project, &project.path("e2e"), "npm-e2e")?;
        let code_key = entropy::bytes32()?;
        let mut workers = Vec::new();
        // The upstream's address is needed in the policy, and the policy in the upstream: the port is chosen first.
        let mut edge = |name, make: MakePolicy<'_>| {
            let backend = Backend::bind()?;
            let upstream = format!("http://{}", backend.address());
            let key = SigningKey::from_seed("policy", &entropy::bytes32()?);
            let public = public_bytes(&key);
            let (policy, filter) = make(&upstream)?;
            backend.serve(SignedPolicy::new(policy, filter.as_ref(), key)?);
            workers.push(Worker {
                name,
                modules: edge_modules(&ready.edge)?,
                bindings: vec![
                    ("ISSUER", ISSUER.into()),
                    ("ORIGIN_URL", upstream.clone()),
                    ("EDGE_ID", "bench".into()),
                    ("EDGE_PRIVATE_KEY", entropy::base64url32()?),
                    ("POLICY_PUBLIC_KEY", public),
                    ("CODE_MAC_KEY", base64url::encode(&code_key)),
                    ("CLIENT_ADDRESS", "peer".into()),
                    ("ACCESS_LOG", "off".into()),
                ],
            });
            Ok::<_, anyhow::Error>(upstream)
        };
        let upstream = edge("edge", &|upstream| Ok((mint.policy(upstream), None)))?;
        // Of its own, so that what was seen is not pushed out by what is new.
        edge("seen", &|upstream| Ok((mint.policy(upstream), None)))?;
        edge("big", &|upstream| mint.big_policy(upstream).map(|(policy, filter)| (policy, Some(filter))))?;
        edge("limited", &|upstream| {
            let reached = Quota { requests: 1, window_seconds: 86_400 };
            let limits = Limits { address: reached, credential: reached, client: reached };
            Ok((Policy { limits, ..mint.policy(upstream) }, None))
        })?;
        workers.extend(peers(project, &packages, &upstream, mint)?);
        Ok(Self {
            workerd: ready.workerd,
            folder: project.state().join("bench/stage"),
            edge: ready.edge,
            code_key: CodeKey::new(code_key),
            workers,
        })
    }

    /// Adds another build of the edge, with the policy and upstream of this one.
    pub(crate) fn add_build(&mut self, name: &'static str, folder: &Path) -> Result<()> {
        let modules = edge_modules(folder)?;
        let worker = Worker { name, modules, ..self.worker("edge")? };
        self.workers.push(worker);
        Ok(())
    }

    /// All of them.
    pub(crate) fn workers(&self) -> Vec<Worker> {
        self.workers.clone()
    }

    /// One of them.
    pub(crate) fn worker(&self, name: &str) -> Result<Worker> {
        let found = self.workers.iter().find(|worker| worker.name == name);
        found.cloned().with_context(|| format!("no worker is called {name}"))
    }
}

fn edge_modules(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let names = setup::edge::modules(folder)?;
    Ok(names.into_iter().map(|name| (name.clone(), folder.join(name))).collect())
}

/// The workers in JavaScript.
fn peers(project: &Project, packages: &Path, upstream: &str, mint: &Mint) -> Result<Vec<Worker>> {
    let plain = |name, file: &str, bindings| Worker {
        name,
        modules: vec![("entry.mjs".into(), project.path("xtask/src/bench/workers").join(file))],
        bindings,
    };
    let upstream = || ("UPSTREAM", upstream.to_owned());
    let keys = mint.jwk_set()?.to_string();
    let mut jose = plain("jose", "jose.mjs", vec![upstream(), ("ISSUER", ISSUER.into()), ("JWKS", keys)]);
    let library = packages.join("jose/dist/webapi");
    collect_modules(&library, &library, &mut jose.modules)?;
    Ok(vec![
        plain("empty", "empty.mjs", Vec::new()),
        plain("passthrough", "passthrough.mjs", vec![upstream()]),
        plain("headers", "passthrough-with-headers.mjs", vec![upstream()]),
        jose,
    ])
}

fn public_bytes(key: &SigningKey) -> String {
    match key.public_jwk() {
        Jwk::Okp { x, .. } => x,
        Jwk::Ec { .. } | Jwk::Rsa { .. } => String::new(),
    }
}

/// Every JavaScript file below `folder`, named `jose/…` as `jose.mjs` imports it.
fn collect_modules(root: &Path, folder: &Path, modules: &mut Vec<(String, PathBuf)>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        if path.is_dir() {
            collect_modules(root, &path, modules)?;
        } else if path.extension().is_some_and(|ending| ending == "js") {
            let name = path.strip_prefix(root).context("a file outside its folder")?;
            modules.push((format!("jose/{}", name.display()), path.clone()));
        }
    }
    Ok(())
}
