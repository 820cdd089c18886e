//! The one connection to Redis for all requests.

use std::env;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::Result;

/// The connection; the first request opens it, and so does the one after an error.
#[derive(Default)]
pub struct Redis {
    connection: Mutex<Option<TcpStream>>,
}

impl Redis {
    pub async fn echo(&self, text: &str) -> Result<()> {
        let mut shared = self.connection.lock().await;
        let mut connection = match shared.take() {
            Some(connection) => connection,
            None => TcpStream::connect(format!("127.0.0.1:{}", env::var("REDIS_PORT")?)).await?,
        };
        let reply = format!("${}\r\n{text}\r\n", text.len());
        connection.write_all(format!("*2\r\n$4\r\nECHO\r\n{reply}").as_bytes()).await?;
        let mut received = vec![0; reply.len()];
        connection.read_exact(&mut received).await?;
        if received != reply.as_bytes() {
            return Err("the answer to another request".into());
        }
        *shared = Some(connection);
        Ok(())
    }
}
