//! A webhook on the loopback: answers 200, and keeps what it is told.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

pub struct Hook {
    address: SocketAddr,
    told: Receiver<String>,
}

impl Hook {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (send, told) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let send = send.clone();
                thread::spawn(move || answer(stream, &send));
            }
        });
        Self { address, told }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Until each of these events of the key was told.
    pub fn wait_for(&self, key: &str, events: &[&str]) {
        let mut open = events.to_vec();
        while !open.is_empty() {
            let told = self.told.recv_timeout(Duration::from_secs(60));
            let told = told.unwrap_or_else(|_| panic!("the webhook was never told {open:?}"));
            open.retain(|event| !(told.contains(event) && told.contains(key)));
        }
    }
}

/// One request after the other; ends when the other side does.
fn answer(mut stream: TcpStream, told: &Sender<String>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut len = 0;
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if line.trim().is_empty() => break,
                Ok(_) => {}
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                len = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; len];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let _ = told.send(String::from_utf8(body).unwrap());
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_err() {
            return;
        }
    }
}
