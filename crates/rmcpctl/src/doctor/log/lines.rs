// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lines of a kernel log, from the texts in which it is handed out: `journalctl -o json`, `dmesg`, files of syslog.
//!
//! A text may be of any content; what is no line of the kernel is left out, and work is bounded by the text's length.

use serde::Serialize;
use serde_json::Value;

/// Which boot a line is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Boot {
    /// The one that runs.
    This,
    /// The one before.
    Last,
    /// A file of syslog does not say.
    Unknown,
}

impl Boot {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::This => "this boot",
            Self::Last => "last boot",
            Self::Unknown => "some boot",
        }
    }
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The boot it is of.
    pub boot: Boot,
    /// Seconds since that boot, as the log has them.
    pub time: Option<String>,
    /// What was said, without time and host name.
    pub text: String,
}

/// `journalctl -k -o json`: one object a line. A message that is no UTF-8 is an array of bytes.
pub fn journal(text: &str, boot: Boot) -> Vec<Line> {
    let objects = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    objects
        .filter_map(|object: Value| {
            let message = match object.get("MESSAGE")? {
                Value::String(text) => text.clone(),
                Value::Array(bytes) => {
                    let byte = |value: &Value| value.as_u64().and_then(|n| u8::try_from(n).ok());
                    let bytes: Option<Vec<u8>> = bytes.iter().map(byte).collect();
                    String::from_utf8_lossy(&bytes?).into_owned()
                }
                _ => return None,
            };
            let time = object.get("_SOURCE_MONOTONIC_TIMESTAMP");
            let time = time.or_else(|| object.get("__MONOTONIC_TIMESTAMP"));
            let micros = time
                .and_then(Value::as_str)
                .and_then(|t| t.parse::<u64>().ok());
            // A record may have several lines; amdgpu's have not, but others' may hold such words.
            Some(Line {
                boot,
                time: micros.map(|t| format!("{}.{:06}", t / 1_000_000, t % 1_000_000)),
                text: crate::system::clean(message.as_bytes()),
            })
        })
        .collect()
}

/// Output of `dmesg`, `/dev/kmsg`, or a file of syslog (`kern.log`), whichever it looks like, line by line.
pub fn plain(text: &str, boot: Boot) -> Vec<Line> {
    text.lines().filter_map(|line| one(line, boot)).collect()
}

/// A file that somebody names: any of the above, or a program's output, of which every line counts.
pub fn any(text: &str) -> Vec<Line> {
    let of = |line: &str| {
        let boot = Boot::Unknown;
        let known = one(line, boot).or_else(|| journal(line, boot).pop());
        known.unwrap_or_else(|| Line {
            boot,
            time: None,
            text: line.to_owned(),
        })
    };
    text.lines().map(of).collect()
}

fn one(line: &str, boot: Boot) -> Option<Line> {
    // /dev/kmsg: "3,1234,5678901,-;text". A line of its own with a space before is about the former one.
    if let Some((head, text)) = line.split_once(';') {
        let mut fields = head.split(',');
        let numbers = [fields.next(), fields.next(), fields.next()];
        if let [Some(level), Some(number), Some(time)] = numbers {
            if let (Ok(_), Ok(_), Ok(time)) = (
                level.parse::<u32>(),
                number.parse::<u64>(),
                time.parse::<u64>(),
            ) {
                return Some(Line {
                    boot,
                    time: Some(format!("{}.{:06}", time / 1_000_000, time % 1_000_000)),
                    text: text.to_owned(),
                });
            }
        }
    }
    // dmesg: "[   12.345678] text", perhaps with "<3>" before it.
    let dmesg = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    let dmesg = dmesg.map_or(line, |(_, rest)| rest);
    if let Some((time, text)) = stamped(dmesg) {
        let (time, text) = (Some(time.to_owned()), text.to_owned());
        return Some(Line { boot, time, text });
    }
    // syslog: "Nov 25 12:34:56 host kernel: [   12.345678] text", the stamp may be missing.
    let text = line.split_once(" kernel: ").map(|(_, text)| text)?;
    let (time, text) = match stamped(text) {
        Some((time, text)) => (Some(time.to_owned()), text),
        None => (None, text),
    };
    let text = text.to_owned();
    Some(Line { boot, time, text })
}

/// The time in brackets before a text.
fn stamped(text: &str) -> Option<(&str, &str)> {
    let (time, rest) = text.strip_prefix('[')?.split_once(']')?;
    let time = time.trim();
    let (seconds, fraction) = time.split_once('.')?;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    (digits(seconds) && digits(fraction)).then_some((time, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "amdgpu 0000:03:00.0: amdgpu: ring gfx_0.0.0 timeout";

    fn line(boot: Boot, time: Option<&str>) -> Vec<Line> {
        let (time, text) = (time.map(str::to_owned), TEXT.to_owned());
        vec![Line { boot, time, text }]
    }

    #[test]
    fn the_same_line_is_read_from_every_text() {
        for (text, time) in [
            (format!("[   12.000345] {TEXT}"), Some("12.000345")),
            (format!("<3>[   12.000345] {TEXT}"), Some("12.000345")),
            (
                format!("3,77,12000345,-;{TEXT}\n SUBSYSTEM=pci"),
                Some("12.000345"),
            ),
            (
                format!("Nov 25 12:00:00 box kernel: [   12.000345] {TEXT}"),
                Some("12.000345"),
            ),
            (
                format!("2026-11-25T12:00:00.1+00:00 box kernel: {TEXT}"),
                None,
            ),
        ] {
            assert_eq!(
                plain(&text, Boot::Unknown),
                line(Boot::Unknown, time),
                "{text}"
            );
        }
        let json = serde_json::json!({
            "MESSAGE": TEXT,
            "_SOURCE_MONOTONIC_TIMESTAMP": "12000345",
            "__MONOTONIC_TIMESTAMP": "99",
        });
        let text = format!("{json}\n");
        assert_eq!(
            journal(&text, Boot::Last),
            line(Boot::Last, Some("12.000345"))
        );
        let bytes = serde_json::json!({ "MESSAGE": TEXT.as_bytes() }).to_string();
        assert_eq!(journal(&bytes, Boot::Last), line(Boot::Last, None));
    }

    #[test]
    fn what_is_no_line_of_the_kernel_is_left_out() {
        for text in [
            "",
            "\n\n",
            "Nov 25 12:00:00 box sshd[1]: hello",
            "[x] y",
            "{}",
            "-- No entries --",
        ] {
            assert_eq!(plain(text, Boot::This), [], "{text}");
        }
        for text in [
            "-- No entries --",
            "{}",
            "[1]",
            r#"{"MESSAGE":null}"#,
            r#"{"MESSAGE":[300]}"#,
        ] {
            assert_eq!(journal(text, Boot::This), [], "{text}");
        }
    }
}
