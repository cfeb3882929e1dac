// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine as one text file: its files by path, to be looked at elsewhere or put together for a test.
//!
//! ```text
//! rmcpctl recording 1
//! # a remark
//! file sys/module/rmcp/parameters/mtype
//! |uc
//! file proc/1/environ
//! :HOME=/\0
//! link sys/bus/pci/devices/0000:03:00.0 ../../../devices/pci0000:00/0000:03:00.0
//! folder sys/kernel/debug
//! denied sys/kernel/debug/rmcp/counters
//! ```
//!
//! `|` begins a line of the file above, `:` one without a newline at its end. `\0`, `\t`, `\\` and `\xHH` stand for bytes.
//! Folders are there when something is in them. What is `denied` is there and may not be read. Links are followed as the
//! kernel does, and do not lead out.

use super::{Files, Found, Places, Refusal};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// The first line.
const FORMAT: &str = "rmcpctl recording 1";
/// How many links are followed on the way to one file, as in the kernel.
const LINKS: usize = 40;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    File(Vec<u8>),
    Link(String),
    Folder,
    Denied,
}

/// The files of a machine, in memory. What is written to it is kept.
#[derive(Debug, Default)]
pub struct Recording {
    nodes: RefCell<BTreeMap<String, Node>>,
    written: RefCell<Vec<(String, Vec<u8>)>>,
    stubborn: BTreeSet<String>,
}

impl Recording {
    /// Reads a recording.
    ///
    /// # Errors
    ///
    /// One sentence about the first line that means nothing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().enumerate();
        if lines.next().map(|(_, line)| line) != Some(FORMAT) {
            return Err(format!("the first line is not {FORMAT:?}"));
        }
        let mut recording = Self::default();
        let mut last: Option<String> = None;
        for (index, line) in lines {
            let wrong = |what: &str| format!("line {}: {what}", index + 1);
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                _ if line.starts_with(['|', ':']) => {
                    let path = last.as_ref().ok_or_else(|| wrong("content of no file"))?;
                    let mut bytes = unescape(&line[1..]).ok_or_else(|| wrong("no such escape"))?;
                    if line.starts_with('|') {
                        bytes.push(b'\n');
                    }
                    if let Some(Node::File(content)) = recording.nodes.get_mut().get_mut(path) {
                        content.extend(bytes);
                    }
                }
                "" | "#" => {}
                "file" | "folder" | "denied" => {
                    let path = plain(rest).ok_or_else(|| wrong("no path below the root"))?;
                    let node = match word {
                        "file" => Node::File(Vec::new()),
                        "folder" => Node::Folder,
                        _ => Node::Denied,
                    };
                    last = (word == "file").then(|| path.clone());
                    recording.put(path, node);
                }
                "link" => {
                    let (path, target) = rest.split_once(' ').ok_or_else(|| wrong("no target"))?;
                    let path = plain(path).ok_or_else(|| wrong("no path below the root"))?;
                    last = None;
                    recording.put(path, Node::Link(target.to_owned()));
                }
                _ => {
                    return Err(wrong(
                        "expected file, folder, denied, link, `|`, `:` or `#`",
                    ));
                }
            }
        }
        Ok(recording)
    }

    fn put(&mut self, path: String, node: Node) {
        self.nodes.get_mut().insert(path, node);
    }

    /// Adds or replaces a file.
    #[must_use]
    pub fn with(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.put(path.to_owned(), Node::File(content.as_ref().to_vec()));
        self
    }

    /// Takes something away, with all that is below it.
    #[must_use]
    pub fn without(self, path: &str) -> Self {
        let below = format!("{path}/");
        self.nodes
            .borrow_mut()
            .retain(|name, _| name != path && !name.starts_with(&below));
        self
    }

    /// Makes something unreadable, with all that is below it.
    #[must_use]
    pub fn denied(self, path: &str) -> Self {
        let mut recording = self.without(path);
        recording.put(path.to_owned(), Node::Denied);
        recording
    }

    /// Makes a file that refuses whatever is written to it.
    #[must_use]
    pub fn stubborn(mut self, path: &str) -> Self {
        self.stubborn.insert(path.to_owned());
        self
    }

    /// What was written so far, in order; a deleted file is one with no content.
    pub fn written(&self) -> Vec<(String, Vec<u8>)> {
        self.written.borrow().clone()
    }

    /// The whole as text, which [`Recording::parse`] reads.
    pub fn to_text(&self) -> String {
        let mut text = format!("{FORMAT}\n");
        for (path, node) in self.nodes.borrow().iter() {
            match node {
                Node::Folder => text += &format!("folder {path}\n"),
                Node::Denied => text += &format!("denied {path}\n"),
                Node::Link(target) => text += &format!("link {path} {target}\n"),
                Node::File(content) => {
                    text += &format!("file {path}\n");
                    for line in content.split_inclusive(|&byte| byte == b'\n') {
                        match line {
                            [line @ .., b'\n'] => text += &format!("|{}\n", escape(line)),
                            line => text += &format!(":{}\n", escape(line)),
                        }
                    }
                }
            }
        }
        text
    }

    /// Where a path leads; the last link is followed if `through`.
    fn resolve(&self, path: &str, through: bool) -> Found<(String, Node)> {
        let nodes = self.nodes.borrow();
        let mut todo: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut done: Vec<String> = Vec::new();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    done.pop();
                    continue;
                }
                _ => done.push(part),
            }
            match nodes.get(&done.join("/")) {
                Some(Node::Denied) => return Ok((done.join("/"), Node::Denied)),
                Some(Node::Link(target)) if through || !todo.is_empty() => {
                    links += 1;
                    if links > LINKS {
                        return Err(Refusal::Other("too many links".into()));
                    }
                    done.pop();
                    if target.starts_with('/') {
                        done.clear();
                    }
                    todo.extend(target.split('/').rev().map(str::to_owned));
                }
                _ => {}
            }
        }
        let path = done.join("/");
        match nodes.get(&path) {
            Some(node) => Ok((path, node.clone())),
            None if inside(&nodes, &path).next().is_some() => Ok((path, Node::Folder)),
            None => Err(Refusal::Missing),
        }
    }

    fn content(&self, path: &str) -> Found<Vec<u8>> {
        match self.resolve(path, true)?.1 {
            Node::File(content) => Ok(content),
            Node::Denied => Err(Refusal::Denied),
            Node::Folder | Node::Link(_) => Err(Refusal::Other("a folder".into())),
        }
    }
}

/// The names below a folder, whole.
fn inside<'a>(
    nodes: &'a BTreeMap<String, Node>,
    path: &str,
) -> impl Iterator<Item = &'a str> + use<'a> {
    let prefix = match path {
        "" => String::new(),
        path => format!("{path}/"),
    };
    nodes
        .range(prefix.clone()..)
        .map_while(move |(name, _)| name.strip_prefix(&prefix))
}

/// A path below the root, in its shortest form.
fn plain(path: &str) -> Option<String> {
    let fine = |part: &str| !part.is_empty() && part != "." && part != "..";
    path.split('/').all(fine).then(|| path.to_owned())
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next()? {
                b'\\' => b'\\',
                b'0' => 0,
                b't' => b'\t',
                b'x' => {
                    let mut digit = || char::from(rest.next()?).to_digit(16);
                    u8::try_from(digit()? << 4 | digit()?).ok()?
                }
                _ => return None,
            },
            byte => byte,
        });
    }
    Some(bytes)
}

fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '\0' => text.push_str("\\0"),
                '\t' => text.push_str("\\t"),
                c if c.is_ascii_control() => text += &format!("\\x{:02x}", u32::from(c)),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            text += &format!("\\x{byte:02x}");
        }
    }
    text
}

impl Files for Recording {
    fn read(&self, path: &str, limit: usize) -> Found<Vec<u8>> {
        let content = self.content(path)?;
        if content.len() > limit {
            return Err(Refusal::TooLarge(limit));
        }
        Ok(content)
    }

    fn list(&self, path: &str) -> Found<Vec<String>> {
        match self.resolve(path, true)? {
            (_, Node::Denied) => Err(Refusal::Denied),
            (path, Node::Folder) => {
                let first = |name: &str| name.split('/').next().unwrap_or_default().to_owned();
                let names: BTreeSet<String> =
                    inside(&self.nodes.borrow(), &path).map(first).collect();
                Ok(names.into_iter().collect())
            }
            _ => Err(Refusal::Missing),
        }
    }

    fn link(&self, path: &str) -> Found<String> {
        match self.resolve(path, false)?.1 {
            Node::Link(target) => Ok(target),
            Node::Denied => Err(Refusal::Denied),
            _ => Err(Refusal::Other("no link".into())),
        }
    }

    fn places(&self, path: &str) -> Found<Box<dyn Places>> {
        Ok(Box::new(Content(self.content(path)?)))
    }

    fn write(&self, path: &str, data: &[u8]) -> Found<()> {
        let (path, node) = self.resolve(path, true)?;
        match node {
            Node::Denied => return Err(Refusal::Denied),
            Node::Folder | Node::Link(_) => return Err(Refusal::Other("a folder".into())),
            Node::File(_) if self.stubborn.contains(&path) => {
                return Err(Refusal::Other("Invalid argument".into()));
            }
            Node::File(_) => {}
        }
        self.written
            .borrow_mut()
            .push((path.clone(), data.to_vec()));
        let mut content = data.to_vec();
        if content.last() != Some(&b'\n') {
            content.push(b'\n');
        }
        self.nodes.borrow_mut().insert(path, Node::File(content));
        Ok(())
    }

    fn replace(&self, path: &str, data: &[u8]) -> Found<()> {
        let path = match self.resolve(path, true) {
            Ok((_, Node::Denied)) => return Err(Refusal::Denied),
            Ok((path, _)) => path,
            Err(_) => plain(path).ok_or(Refusal::Missing)?,
        };
        if self.stubborn.contains(&path) {
            return Err(Refusal::Other("No space left on device".into()));
        }
        self.written
            .borrow_mut()
            .push((path.clone(), data.to_vec()));
        self.nodes
            .borrow_mut()
            .insert(path, Node::File(data.to_vec()));
        Ok(())
    }

    fn remove(&self, path: &str) -> Found<()> {
        let (path, node) = self.resolve(path, false)?;
        if node == Node::Denied {
            return Err(Refusal::Denied);
        }
        self.written.borrow_mut().push((path.clone(), Vec::new()));
        self.nodes.borrow_mut().remove(&path);
        Ok(())
    }
}

/// So that a test keeps its hand on a recording that a [`super::System`] looks at.
impl<T: Files> Files for std::rc::Rc<T> {
    fn read(&self, path: &str, limit: usize) -> Found<Vec<u8>> {
        (**self).read(path, limit)
    }
    fn list(&self, path: &str) -> Found<Vec<String>> {
        (**self).list(path)
    }
    fn link(&self, path: &str) -> Found<String> {
        (**self).link(path)
    }
    fn places(&self, path: &str) -> Found<Box<dyn Places>> {
        (**self).places(path)
    }
    fn write(&self, path: &str, data: &[u8]) -> Found<()> {
        (**self).write(path, data)
    }
    fn replace(&self, path: &str, data: &[u8]) -> Found<()> {
        (**self).replace(path, data)
    }
    fn remove(&self, path: &str) -> Found<()> {
        (**self).remove(path)
    }
    fn follow(&self, path: &str) -> Found<Box<dyn super::Growing>> {
        (**self).follow(path)
    }
    fn make_folder(&self, path: &str) -> Found<()> {
        (**self).make_folder(path)
    }
    fn lock(&self, path: &str) -> Found<Option<super::Lock>> {
        (**self).lock(path)
    }
}

struct Content(Vec<u8>);

impl Places for Content {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Found<()> {
        let part = usize::try_from(offset)
            .ok()
            .and_then(|start| self.0.get(start..)?.get(..into.len()))
            .ok_or_else(|| Refusal::Other("beyond its end".into()))?;
        into.copy_from_slice(part);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "rmcpctl recording 1\n\
        # a remark\n\
        file sys/devices/gpu/vendor\n\
        |0x1002\n\
        file proc/1/environ\n\
        :A=\\x01\\0B=\\\\\n\
        link sys/bus/0 ../devices/gpu\n\
        link sys/loop loop\n\
        link out ../../../sys/devices\n\
        folder sys/kernel/debug\n\
        denied sys/kernel/tracing\n";

    #[test]
    fn files_are_found_through_links() {
        let recording = Recording::parse(TEXT).unwrap();
        assert_eq!(recording.read("sys/bus/0/vendor", 99).unwrap(), b"0x1002\n");
        assert_eq!(recording.read("out/gpu/vendor", 99).unwrap(), b"0x1002\n");
        assert_eq!(
            recording.read("proc/1/environ", 99).unwrap(),
            b"A=\x01\0B=\\"
        );
        assert_eq!(recording.link("sys/bus/0").unwrap(), "../devices/gpu");
        assert_eq!(recording.list("sys/bus/0").unwrap(), ["vendor"]);
        assert_eq!(recording.list("sys/kernel").unwrap(), ["debug", "tracing"]);
        assert!(recording.list("sys/kernel/debug").unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let recording = Recording::parse(TEXT).unwrap();
        let refused = |path| recording.read(path, 4).unwrap_err();
        assert_eq!(refused("sys/kernel/tracing/events"), Refusal::Denied);
        assert_eq!(refused("sys/nothing"), Refusal::Missing);
        assert_eq!(refused("sys/bus/0/vendor"), Refusal::TooLarge(4));
        assert_eq!(refused("sys/loop"), Refusal::Other("too many links".into()));
    }

    #[test]
    fn text_is_the_same_after_a_round_trip() {
        let once = Recording::parse(TEXT).unwrap().to_text();
        assert_eq!(Recording::parse(&once).unwrap().to_text(), once);
        assert!(once.contains(":A=\\x01\\0B=\\\\\n"), "{once}");
    }

    #[test]
    fn nonsense_is_named_with_its_line() {
        let wrong = |rest: &str| Recording::parse(&format!("{FORMAT}\n{rest}\n")).unwrap_err();
        assert_eq!(
            Recording::parse("").unwrap_err(),
            format!("the first line is not {FORMAT:?}")
        );
        assert_eq!(wrong("|x"), "line 2: content of no file");
        assert_eq!(wrong("file a\n|\\q"), "line 3: no such escape");
        assert_eq!(wrong("file ../etc"), "line 2: no path below the root");
        assert_eq!(wrong("link a"), "line 2: no target");
        assert!(wrong("what").starts_with("line 2: expected file"));
    }
}
