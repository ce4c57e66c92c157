//! `quorate-node status`.

use super::{Directory, Failed};
use clap::Args;
use quorate_client::error::Exit;
use quorate_client::protocol::NodeStatus;
use quorate_node::config::HttpAddress;
use quorate_node::runtime::{HTTP_FILE, not_ready};
use std::time::Duration;

/// The node answers within milliseconds, or not at all.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    directory: Directory,
    /// Print the whole status as JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn run(self) -> Result<(), Failed> {
        let address = self.address()?;
        let url = format!("http://{address}/status");
        let agent: ureq::Agent =
            ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).proxy(None).build().into();
        let unreachable = |error: ureq::Error| {
            let text = format!(
                "no answer from {url}: {error}; is the node running? Its log says, and `quorate-node start --dir {}` \
                 starts it",
                self.directory.dir.display()
            );
            Failed::new(Exit::Unreachable, text)
        };
        let mut answer = agent.get(&url).call().map_err(unreachable)?;
        let status: NodeStatus = answer.body_mut().read_json().map_err(unreachable)?;
        if self.json {
            let text = serde_json::to_string_pretty(&status).map_err(Failed::failure)?;
            println!("{text}");
        } else {
            print(&status);
        }
        Ok(())
    }

    /// Where the node said it listens, or where its configuration says.
    fn address(&self) -> Result<String, Failed> {
        if let Ok(text) = std::fs::read_to_string(self.directory.dir.join(HTTP_FILE)) {
            return Ok(text.trim().to_owned());
        }
        match self.directory.config()?.http.address {
            HttpAddress::On(address) => Ok(address.to_string()),
            HttpAddress::Off => Err(Failed::new(
                Exit::Unreachable,
                "the node's HTTP port is off; set `http.address` in node.toml and start the node again, or ask with \
                 `quorate status`",
            )),
        }
    }
}

fn print(status: &NodeStatus) {
    let ready = not_ready(status).map_or_else(|| "yes".to_owned(), |why| format!("no: {why}"));
    println!("validator     {} ({})", status.validator, status.name);
    println!("chain         {}", status.chain);
    println!("version       {}, up {} s", status.version, status.uptime_ms / 1000);
    println!("ready         {ready}");
    println!("height        {} (block {})", status.height, status.block);
    println!("view          {}, led by validator {}, {}", status.view, status.leader, status.phase);
    println!("committed     {} transactions", status.committed_transactions);
    println!("waiting       {} transactions, {} bytes", status.mempool_transactions, status.mempool_bytes);
    let duplicates = status.gossip_duplicates_per_1000;
    println!(
        "gossip        {}.{:03} further copies for each first one",
        duplicates / 1000,
        duplicates % 1000
    );
    println!("evidence      {}", status.evidence);
    for peer in &status.peers {
        let connection =
            if peer.connected { format!("{} us", peer.rtt_us) } else { "not connected".to_owned() };
        println!(
            "peer          {} ({}): height {}, view {}, {connection}, {} bytes in, {} out",
            peer.validator, peer.name, peer.height, peer.view, peer.bytes_in, peer.bytes_out
        );
    }
}
