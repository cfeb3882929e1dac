// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's log: where it is read, and what it tells of a GPU.

pub mod client;
pub mod event;
pub mod fault;
pub mod lines;
pub mod reading;

use crate::system::{Refusal, System, clean};
use event::Event;
use fault::Fault;
use lines::{Boot, Line};
use serde::Serialize;

/// The most bytes that are read of a log file.
const LARGEST: usize = 64 << 20;
/// The most lines that journalctl is asked for.
const LINES: &str = "--lines=200000";
/// The function whose messages are left out when faults come too fast.
const TELLER: &str = "gmc_v10_0_process_interrupt";

/// A place that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The command or file.
    pub place: String,
    /// Which boot it is of.
    pub boot: Boot,
    /// How many lines it had, or why it could not be read.
    #[serde(flatten)]
    pub read: Read,
}

/// What came of reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Read {
    /// So many lines.
    Lines(usize),
    /// Not at all, and why.
    Failed(String),
}

/// What the logs tell.
#[derive(Debug, Default, Serialize)]
pub struct Log {
    /// Where was looked.
    pub places: Vec<Place>,
    /// Page faults.
    pub faults: Vec<Fault>,
    /// Everything else.
    pub events: Vec<Event>,
    /// Messages about faults that the kernel left out.
    pub suppressed: u64,
    /// Lines of amdgpu's that a check looks for by their words.
    #[serde(skip)]
    pub driver: Vec<Line>,
}

impl Log {
    /// What these lines tell.
    pub fn of(lines: &[Line], places: Vec<Place>) -> Self {
        let ours = |line: &&Line| line.text.contains("amdgpu") || line.text.contains("kfd");
        Self {
            places,
            faults: fault::faults(lines),
            events: event::events(lines),
            suppressed: event::suppressed(lines, TELLER),
            driver: lines.iter().filter(ours).take(10_000).cloned().collect(),
        }
    }

    /// Whether any log of a boot could be read.
    pub fn has(&self, boot: Boot) -> bool {
        let of = |place: &&Place| place.boot == boot && matches!(place.read, Read::Lines(_));
        self.places.iter().any(|place| of(&place))
    }

    /// What the text of one file tells.
    pub fn of_text(text: &str, name: &str) -> Self {
        let lines = lines::any(text);
        let place = Place {
            place: name.to_owned(),
            boot: Boot::Unknown,
            read: Read::Lines(lines.len()),
        };
        Self::of(&lines, vec![place])
    }

    /// Reads the logs of this boot and the last, where the machine has them.
    pub fn read(system: &System) -> Self {
        let mut reader = Reader {
            system,
            lines: Vec::new(),
            places: Vec::new(),
        };
        if !reader.journal(Boot::This, "0")
            && !reader.dmesg()
            && !reader.file("dev/kmsg", Boot::This)
        {
            reader.file("var/log/dmesg", Boot::This);
        }
        let last = reader.journal(Boot::Last, "-1");
        if !last {
            for path in ["var/log/kern.log.1", "var/log/kern.log", "var/log/messages"] {
                reader.file(path, Boot::Unknown);
            }
        }
        reader.runtime();
        let Reader { lines, places, .. } = reader;
        Self::of(&lines, places)
    }
}

struct Reader<'a> {
    system: &'a System,
    lines: Vec<Line>,
    places: Vec<Place>,
}

impl Reader<'_> {
    fn note(
        &mut self,
        place: impl Into<String>,
        boot: Boot,
        read: Result<Vec<Line>, String>,
    ) -> bool {
        let (read, fine) = match read {
            Ok(lines) => {
                let count = lines.len();
                self.lines.extend(lines);
                (Read::Lines(count), count > 0)
            }
            Err(why) => (Read::Failed(why), false),
        };
        self.places.push(Place {
            place: place.into(),
            boot,
            read,
        });
        fine
    }

    fn run(&self, words: &[&str]) -> Result<String, String> {
        let ran = self
            .system
            .host()
            .run(words)
            .map_err(|refusal| match refusal {
                Refusal::Missing => format!("{} is not there to run", words[0]),
                other => other.to_string(),
            })?;
        if ran.fine {
            return Ok(ran.out);
        }
        let why = ran.err.lines().next().unwrap_or(&ran.end);
        Err(why.to_owned())
    }

    fn journal(&mut self, boot: Boot, number: &str) -> bool {
        let words = [
            "journalctl",
            "-k",
            "-b",
            number,
            "-o",
            "json",
            "--no-pager",
            "-q",
            LINES,
        ];
        let lines = self.run(&words).map(|text| lines::journal(&text, boot));
        let lines = lines.and_then(|lines| match lines.is_empty() {
            true => Err("no entries, or none that this user may see".to_owned()),
            false => Ok(lines),
        });
        self.note(format!("journalctl -k -b {number}"), boot, lines)
    }

    fn dmesg(&mut self) -> bool {
        let lines = self
            .run(&["dmesg"])
            .map(|text| lines::plain(&text, Boot::This));
        self.note("dmesg", Boot::This, lines)
    }

    fn file(&mut self, path: &str, boot: Boot) -> bool {
        let text = self.system.files().read(path, LARGEST);
        if text == Err(Refusal::Missing) {
            return false;
        }
        let lines = text.map(|text| lines::plain(&clean(&text), boot));
        self.note(
            format!("/{path}"),
            boot,
            lines.map_err(|refusal| refusal.to_string()),
        )
    }

    /// What programs under systemd said in ROCm's words.
    fn runtime(&mut self) {
        let grep = "--grep=HSA_STATUS_ERROR|by GPU node|hipErrorNoBinaryForGpu|TensileLibrary";
        let words = [
            "journalctl",
            "-b",
            "0",
            "-o",
            "json",
            "--no-pager",
            "-q",
            "--lines=2000",
            grep,
        ];
        // No match is an exit status of its own, and no journal was told of above.
        if let Ok(text) = self.run(&words) {
            let lines = lines::journal(&text, Boot::This);
            let place = "journalctl -b 0, lines of ROCm's runtime";
            self.note(place, Boot::This, Ok(lines));
        }
    }
}
