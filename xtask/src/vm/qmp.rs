// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU's own control channel (QMP), for what happens to a machine from outside: a card that is unplugged.
//!
//! One connection for each request: a greeting, `qmp_capabilities`, the command, and events until the one waited for.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// Lines read while waiting for one; QEMU sends an event here and there.
const LINES: usize = 1000;

/// Asks QEMU to unplug a device and waits until the guest has let go of it. `limit` is for each line of QEMU's.
pub(super) fn unplug(socket: &Path, device: &str, limit: Duration) -> Result<()> {
    let stream = UnixStream::connect(socket).context("cannot reach QEMU's control channel")?;
    stream.set_read_timeout(Some(limit))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    wait(&mut reader, |line| line.get("QMP").is_some())?;
    for command in [
        json!({ "execute": "qmp_capabilities" }),
        json!({ "execute": "device_del", "arguments": { "id": device } }),
    ] {
        writeln!(writer, "{command}")?;
        wait(&mut reader, |line| line.get("return").is_some())
            .with_context(|| format!("QEMU was asked for {command}"))?;
    }
    wait(&mut reader, |line| {
        line["event"] == "DEVICE_DELETED" && line["data"]["device"] == device
    })
    .with_context(|| format!("the guest keeps {device}"))
}

fn wait(reader: &mut impl BufRead, wanted: impl Fn(&Value) -> bool) -> Result<()> {
    for _ in 0..LINES {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            bail!("QEMU closed its control channel");
        }
        let value: Value =
            serde_json::from_str(&line).with_context(|| format!("QEMU says {line:?}"))?;
        if let Some(error) = value.get("error") {
            bail!("QEMU refuses: {error}");
        }
        if wanted(&value) {
            return Ok(());
        }
    }
    bail!("not what was waited for in {LINES} lines")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::thread;

    const LIMIT: Duration = Duration::from_secs(60);

    /// Lines of a QEMU in between: what it says after the greeting and after each command.
    fn talk(answers: [&'static str; 3]) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("qmp");
        let listener = UnixListener::bind(&path)?;
        let qemu = thread::spawn(move || -> Result<()> {
            let (stream, _) = listener.accept()?;
            let mut reader = BufReader::new(stream.try_clone()?);
            let mut writer = stream;
            writeln!(writer, "{}", answers[0])?;
            for answer in &answers[1..] {
                reader.read_line(&mut String::new())?;
                writeln!(writer, "{answer}")?;
            }
            Ok(())
        });
        let result = unplug(&path, "gpu0", LIMIT);
        // It ends by itself; that a refusal cuts it short is no matter.
        drop(qemu.join());
        result
    }

    const GREETING: &str = r#"{"QMP": {"version": {}}}"#;
    const DONE: &str = r#"{"return": {}}"#;

    #[test]
    fn a_device_is_gone_when_its_event_comes() {
        let deleted = "{\"return\": {}}\n{\"event\": \"RESET\", \"data\": {}}\n\
             {\"event\": \"DEVICE_DELETED\", \"data\": {\"device\": \"gpu0\"}}";
        talk([GREETING, DONE, deleted]).unwrap();
    }

    #[test]
    fn a_refusal_and_another_device_are_errors() {
        let refused = r#"{"error": {"class": "DeviceNotFound"}}"#;
        let error = talk([GREETING, DONE, refused]).unwrap_err();
        assert!(format!("{error:#}").contains("DeviceNotFound"), "{error:#}");
        let other =
            "{\"return\": {}}\n{\"event\": \"DEVICE_DELETED\", \"data\": {\"device\": \"gpu1\"}}";
        let error = talk([GREETING, DONE, other]).unwrap_err();
        assert!(format!("{error:#}").contains("keeps gpu0"), "{error:#}");
    }
}
