//! The rules: one file per family of invariants. To add one, write its file and name it in the registry.

pub(crate) mod bounds;
pub(crate) mod config;
pub(crate) mod delay;
pub(crate) mod delivery;
pub(crate) mod density;
pub(crate) mod identity;
pub(crate) mod leadership;
pub(crate) mod locks;
pub(crate) mod order;
pub(crate) mod origin;
pub(crate) mod ownership;
pub(crate) mod pop;
pub(crate) mod presence;
pub(crate) mod progress;
pub(crate) mod queries;
pub(crate) mod reading;
pub(crate) mod replicas;
pub(crate) mod retries;
pub(crate) mod service;
pub(crate) mod transactions;
