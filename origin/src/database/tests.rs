//! What the database must never allow: a table without forced policies, a tenant seeing another, a login doing anything alone.

mod catalog;
mod isolation;
mod migration;
mod stores;
