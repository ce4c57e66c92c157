//! Asking a node's local HTTP port.

use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A node answers within milliseconds; a machine under load may take longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Status code and body of a GET request. The error says what happened instead.
pub(super) async fn get(address: &str, path: &str) -> Result<(u16, String), String> {
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = match timeout(PATIENCE, asking).await {
        Ok(answer) => answer.map_err(|error| format!("http://{address}{path}: {error}"))?,
        Err(_) => return Err(format!("http://{address}{path}: no answer")),
    };
    let malformed = || format!("http://{address}{path}: no HTTP answer: {answer:?}");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(malformed)?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(malformed)?;
    Ok((code, body.to_owned()))
}
