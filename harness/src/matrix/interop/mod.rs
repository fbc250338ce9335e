//! Clients against servers: what each pair agrees on, and whether data comes through intact.

mod cell;
mod relay;

use std::sync::Arc;
use std::time::Duration;

use reference_server::Profile;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::grid::{Cell, Column, Grid, Mark, Row};
use crate::run::clients::ClientTarget;
use crate::run::target::Target;

pub use relay::{Agreed, Relay};

/// The programs that are tried as clients when none are named.
const CLIENTS: [&str; 3] = ["qemu-img", "nbdcopy", "nbdinfo"];

/// Who is tried against whom.
#[derive(Debug, Clone)]
pub struct Interop {
    /// The columns.
    pub servers: Vec<Target>,
    /// The rows.
    pub clients: Vec<ClientTarget>,
    /// How many pairs at once.
    pub jobs: usize,
    /// How long each step of a pair may take.
    pub limit: Duration,
}

/// The reference client as each release, and the programs that are installed.
pub async fn usual_clients() -> Vec<ClientTarget> {
    let mut clients: Vec<ClientTarget> = Profile::ALL.iter().map(ClientTarget::Profile).collect();
    for client in CLIENTS.iter().flat_map(|name| ClientTarget::find(name).unwrap_or_default()) {
        if client.version().await.is_some() {
            clients.push(client);
        }
    }
    clients
}

impl Interop {
    /// Tries every pair.
    pub async fn run(&self) -> Grid {
        let mut grid = self.empty().await;
        let places = Arc::new(Semaphore::new(self.jobs.max(1)));
        let mut tasks = JoinSet::new();
        for (row, client) in self.clients.iter().enumerate() {
            for (column, server) in self.servers.iter().enumerate() {
                let (client, server, limit) = (client.clone(), server.clone(), self.limit);
                let places = places.clone();
                tasks.spawn(async move {
                    // The semaphore is never closed.
                    let _place = places.acquire().await;
                    (row, column, cell::cell(&client, &server, limit).await)
                });
            }
        }
        while let Some(done) = tasks.join_next().await {
            // A pair that panicked keeps its cell without a verdict.
            if let Ok((row, column, cell)) = done {
                grid.rows[row].cells[column] = cell;
            }
        }
        grid
    }

    /// The grid before anything was tried.
    async fn empty(&self) -> Grid {
        let mut columns = Vec::new();
        for server in &self.servers {
            let version = match server {
                Target::Peer(_) => server.version().await,
                _ => None,
            };
            columns.push(Column { name: server.name().to_owned(), detail: version });
        }
        let cells = vec![Cell::new(Mark::Error).with_note("it came to no end"); columns.len()];
        let mut rows = Vec::new();
        for client in &self.clients {
            let version = match client {
                ClientTarget::Peer(_) => client.version().await.map(|it| format!(" {it}")),
                _ => None,
            };
            let name = format!("{}{}", client.name(), version.unwrap_or_default());
            rows.push(Row { group: None, name, cells: cells.clone() });
        }
        Grid {
            title: "Clients against servers: what they agree on, and whether data comes through"
                .to_owned(),
            corner: ("client \\ server".to_owned(), String::new()),
            columns,
            rows,
            remarks: vec![
                "simple, structured, extended: the form of replies; +c: with base:allocation; *: \
                 several connections; tls: also inside TLS, with certificates; !: a MUST was broken \
                 on the way"
                    .to_owned(),
                "each pair reads known content and writes more, which another client reads back"
                    .to_owned(),
            ],
        }
    }
}
