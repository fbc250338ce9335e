//! A server with one fault that shows everywhere: told once, within a screen or two, and the rest of
//! the server is tested all the same.

mod serve;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;

use serve::Serve;

/// First eight bytes of every option reply.
const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;

/// Passes on what a server sends, with the option of each reply in the other byte order.
fn swap(mut from: TcpStream, mut to: TcpStream) -> std::io::Result<()> {
    let mut greeting = [0; 18];
    from.read_exact(&mut greeting)?;
    to.write_all(&greeting)?;
    loop {
        let mut magic = [0; 8];
        from.read_exact(&mut magic)?;
        if u64::from_be_bytes(magic) != REPLY_MAGIC {
            to.write_all(&magic)?;
            break;
        }
        // Option, type and length of the data, 32 bits each.
        let mut head = [0; 12];
        from.read_exact(&mut head)?;
        let is_go = head[..4] == 7u32.to_be_bytes() && head[4..8] == 1u32.to_be_bytes();
        let length = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        let mut data = vec![0; length as usize];
        from.read_exact(&mut data)?;
        head[..4].reverse();
        to.write_all(&[&magic[..], &head, &data].concat())?;
        if is_go {
            break;
        }
    }
    std::io::copy(&mut from, &mut to).map(drop)
}

/// A server before which every connection passes through [`swap`].
fn swapping(server: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    // It ends with the test's process.
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(upstream) = TcpStream::connect(&server) else { continue };
            let (Ok(mut from_client), Ok(mut to_server)) =
                (client.try_clone(), upstream.try_clone())
            else {
                continue;
            };
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from_client, &mut to_server);
                let _ = to_server.shutdown(Shutdown::Write);
            });
            std::thread::spawn(move || {
                let done = client.try_clone();
                let _ = swap(upstream, client);
                if let Ok(client) = done {
                    let _ = client.shutdown(Shutdown::Both);
                }
            });
        }
    });
    address
}

#[test]
fn one_fault_that_shows_everywhere_is_one_cause() {
    let server = Serve::start(&[]);
    let address = swapping(server.address.clone());
    let output = Command::new(env!("CARGO_BIN_EXE_nbdcheck"))
        .args(["run", "--target", &address, "--report", "json=-"])
        .args(["2.6-options", "2.6-base", "2.6-read", "2.10-go", "2.11-structured"].map(folder))
        .output()
        .expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let causes: Vec<&serde_json::Value> = json["causes"]
        .as_array()
        .expect("causes")
        .iter()
        .filter(|cause| cause["verdict"] == "fail")
        .collect();
    assert_eq!(causes.len(), 1, "{text}");
    assert_eq!(causes[0]["requirement"], "option-reply-echoes-option");
    let failed = json["summary"]["failed"].as_u64().expect("a number");
    assert!(failed > 30, "{text}");
    assert_eq!(causes[0]["scenarios"].as_array().map(Vec::len), usize::try_from(failed).ok());
    assert!(text.contains("in the other byte order"), "{text}");
    assert!(text.contains(&format!("1 cause in {failed} scenarios")), "{text}");
    assert_eq!(text.matches("FAIL ").count(), 2, "once as it happens, once in the end: {text}");
    assert!(text.lines().count() < 60, "{text}");
}

fn folder(name: &str) -> String {
    format!("--scenario={name}")
}
