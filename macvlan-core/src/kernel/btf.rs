//! What the kernel tells of its own types (BTF, `Documentation/bpf/btf.rst`): where the members of a structure are, and
//! the ids of its functions.

use std::{collections::HashMap, fs, path::Path};

use anyhow::{Context as _, Result, anyhow};

/// Where the kernel and each of its modules have theirs.
const DIRECTORY: &str = "/sys/kernel/btf";

/// `include/uapi/linux/btf.h`.
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_FUNC: u32 = 12;

/// The types of the kernel, and those of one module beside them.
pub struct Btf {
    parts: Vec<Part>,
    /// By kind and name; of those of one name the last.
    ids: HashMap<(u32, String), u32>,
}

/// One file: the kernel's, or a module's, which goes on counting where that ended.
struct Part {
    bytes: Vec<u8>,
    /// Where in `bytes` each type begins.
    types: Vec<usize>,
    /// Where in `bytes` the strings begin.
    strings: usize,
    /// Strings of the parts before it.
    first_string: u32,
    first_id: u32,
}

impl Btf {
    /// Reads those of the kernel, and of this module unless it is built in; of types only these are found by name.
    ///
    /// # Errors
    ///
    /// The kernel has none (`CONFIG_DEBUG_INFO_BTF`), or it is not such a file.
    pub fn read(module: &str, wanted: &[&str]) -> Result<Self> {
        let mut btf = Self { parts: Vec::new(), ids: HashMap::new() };
        let whole = Path::new(DIRECTORY).join("vmlinux");
        let bytes = fs::read(&whole)
            .with_context(|| format!("the kernel tells nothing of its types: cannot read {whole:?}"))?;
        btf.add(bytes, wanted).with_context(|| format!("cannot understand {whole:?}"))?;
        let part = Path::new(DIRECTORY).join(module);
        if let Ok(bytes) = fs::read(&part) {
            btf.add(bytes, wanted).with_context(|| format!("cannot understand {part:?}"))?;
        }
        Ok(btf)
    }

    /// The id of a function, and whether it is the module's.
    ///
    /// # Errors
    ///
    /// There is no such function, or programs cannot be put on it: it was inlined.
    pub fn function(&self, name: &str) -> Result<(u32, bool)> {
        let id = self.id(KIND_FUNC, name).with_context(|| format!("the kernel has no function {name}"))?;
        Ok((id, self.parts.get(1).is_some_and(|module| id >= module.first_id)))
    }

    /// Bytes of a structure.
    ///
    /// # Errors
    ///
    /// There is no such structure.
    pub fn size_of(&self, structure: &str) -> Result<u32> {
        let (part, at) = self.structure(structure)?;
        part.word(at + 8).context("a type is cut off")
    }

    /// Where in a structure this member begins, in bytes.
    ///
    /// # Errors
    ///
    /// There is no such structure, or it has no such member.
    pub fn offset_of(&self, structure: &str, member: &str) -> Result<u32> {
        let (part, at) = self.structure(structure)?;
        let found = self.find(part, at, member, 0);
        found.with_context(|| format!("struct {structure} of the kernel has no member {member}"))
    }

    fn id(&self, kind: u32, name: &str) -> Option<u32> {
        self.ids.get(&(kind, name.to_owned())).copied()
    }

    fn structure(&self, name: &str) -> Result<(&Part, usize)> {
        let found = self.id(KIND_STRUCT, name).and_then(|id| self.at(id));
        found.ok_or_else(|| anyhow!("the kernel has no struct {name}"))
    }

    fn at(&self, id: u32) -> Option<(&Part, usize)> {
        let part = self.parts.iter().rfind(|part| part.first_id <= id)?;
        Some((part, *part.types.get((id - part.first_id) as usize)?))
    }

    /// A member, also one of a structure or union without a name in it.
    fn find(&self, part: &Part, at: usize, member: &str, depth: u32) -> Option<u32> {
        /// Deeper than the kernel nests them.
        const DEEPEST: u32 = 8;
        let info = part.word(at + 4)?;
        let has_bit_fields = info >> 31 == 1;
        for number in 0..(info & 0xffff) as usize {
            let entry = at + 12 + 12 * number;
            let (name, id, offset) = (part.word(entry)?, part.word(entry + 4)?, part.word(entry + 8)?);
            let offset = if has_bit_fields { offset & 0xff_ffff } else { offset } / 8;
            if part.text(self.parts.first(), name).is_some_and(|text| is(text, member)) {
                return Some(offset);
            }
            if name == 0
                && depth < DEEPEST
                && let Some((inner, at)) = self.at(id)
                && matches!(inner.word(at + 4)? >> 24 & 0x1f, KIND_STRUCT | KIND_UNION)
                && let Some(found) = self.find(inner, at, member, depth + 1)
            {
                return Some(offset + found);
            }
        }
        None
    }

    fn add(&mut self, bytes: Vec<u8>, wanted: &[&str]) -> Result<()> {
        /// `BTF_MAGIC`, in the byte order of this machine.
        const MAGIC: u32 = 0xeb9f;
        const CUT: &str = "it is cut off";
        let mut part = Part { bytes, types: Vec::new(), strings: 0, first_string: 0, first_id: 1 };
        if part.word(0).context(CUT)? & 0xffff != MAGIC {
            return Err(anyhow!("it is no BTF"));
        }
        let field = |part: &Part, at| part.word(at).map(|word| word as usize).context(CUT);
        let header = field(&part, 4)?;
        let (mut at, end) = (header + field(&part, 8)?, header + field(&part, 8)? + field(&part, 12)?);
        part.strings = header + field(&part, 16)?;
        if let Some(before) = self.parts.first() {
            part.first_string = (before.bytes.len() - before.strings) as u32;
            part.first_id = before.first_id + before.types.len() as u32;
        }
        while at < end {
            let (name, info) = (part.word(at).context(CUT)?, part.word(at + 4).context(CUT)?);
            let kind = info >> 24 & 0x1f;
            if matches!(kind, KIND_STRUCT | KIND_FUNC)
                && let Some(text) = part.text(self.parts.first(), name)
                && let Some(name) = wanted.iter().find(|wanted| is(text, wanted))
            {
                self.ids.insert((kind, (*name).to_owned()), part.first_id + part.types.len() as u32);
            }
            part.types.push(at);
            at += 12 + length_behind(kind, info & 0xffff)?;
        }
        self.parts.push(part);
        Ok(())
    }
}

/// Whether this is the text that the others begin with.
fn is(others: &[u8], text: &str) -> bool {
    others.first() == text.as_bytes().first()
        && others.strip_prefix(text.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
}

impl Part {
    /// What begins with a string of this part, or of the one `before` it.
    fn text<'a>(&'a self, before: Option<&'a Self>, offset: u32) -> Option<&'a [u8]> {
        let owner = if offset < self.first_string { before? } else { self };
        owner.bytes.get(owner.strings + (offset - owner.first_string) as usize..)
    }

    fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*bytes))
    }
}

/// Bytes behind the first twelve of a type of this kind with so many members.
fn length_behind(kind: u32, members: u32) -> Result<usize> {
    /// Kinds from `BTF_KIND_INT` (1) to `BTF_KIND_ENUM64` (19): bytes, and bytes for each member.
    const LENGTHS: [(u32, u32); 19] = [
        (4, 0),  // int
        (0, 0),  // pointer
        (12, 0), // array
        (0, 12), // struct
        (0, 12), // union
        (0, 8),  // enum
        (0, 0),  // forward
        (0, 0),  // typedef
        (0, 0),  // volatile
        (0, 0),  // const
        (0, 0),  // restrict
        (0, 0),  // function
        (0, 8),  // its prototype
        (4, 0),  // variable
        (0, 12), // section
        (0, 0),  // float
        (4, 0),  // tag of a declaration
        (0, 0),  // tag of a type
        (0, 12), // enum of 64 bits
    ];
    const _: () = assert!(LENGTHS[KIND_ARRAY as usize - 1].0 == 12);
    let (own, each) = *kind
        .checked_sub(1)
        .and_then(|index| LENGTHS.get(index as usize))
        .with_context(|| format!("it has types of a kind that is not known here: {kind}"))?;
    Ok((own + each * members) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part with one structure, and one within it that has no name.
    fn part(first_string: u32, first_id: u32, names: [&str; 3]) -> Vec<u8> {
        let mut strings = if first_string == 0 { vec![0] } else { Vec::new() };
        let offsets = names.map(|name| {
            let offset = first_string + strings.len() as u32;
            strings.extend(name.as_bytes());
            strings.push(0);
            offset
        });
        let types: &[u32] = &[
            0,
            KIND_UNION << 24 | 1,
            8,
            offsets[2],
            0,
            0, //
            offsets[0],
            1 << 31 | KIND_STRUCT << 24 | 2,
            32,
            offsets[1],
            0,
            0x0100_0000 | 64,
            0,
            first_id,
            128, //
            offsets[0],
            KIND_FUNC << 24,
            0,
        ];
        let length = types.len() as u32 * 4;
        let header = [0x0001_eb9f, 24, 0, length, length, strings.len() as u32];
        let words = header.iter().chain(types).flat_map(|word| word.to_ne_bytes());
        words.chain(strings).collect()
    }

    #[test]
    fn members_are_found_in_the_kernel_and_in_a_module_that_goes_on_counting() {
        let wanted = ["outer", "module"];
        let mut btf = Btf { parts: Vec::new(), ids: HashMap::new() };
        let kernel = part(0, 1, ["outer", "direct", "nested"]);
        btf.add(kernel, &wanted).unwrap();
        let before = &btf.parts[0];
        let strings = (before.bytes.len() - before.strings) as u32;
        btf.add(part(strings, 4, ["module", "own", "deep"]), &wanted).unwrap();
        assert_eq!(btf.size_of("outer").unwrap(), 32);
        assert_eq!(
            (btf.offset_of("outer", "direct").unwrap(), btf.offset_of("outer", "nested").unwrap()),
            (8, 16)
        );
        assert_eq!(
            (btf.offset_of("module", "own").unwrap(), btf.offset_of("module", "deep").unwrap()),
            (8, 16)
        );
        assert_eq!(
            (btf.function("outer").unwrap(), btf.function("module").unwrap()),
            ((3, false), (6, true))
        );
        for missing in [btf.offset_of("outer", "own").map(drop), btf.size_of("other").map(drop)] {
            assert!(
                missing.unwrap_err().to_string().starts_with("the kernel has no struct other")
                    || btf.id(KIND_STRUCT, "outer").is_some()
            );
        }
        assert!(btf.function("other").unwrap_err().to_string().contains("no function other"));
    }

    #[test]
    fn what_is_cut_off_or_unknown_is_refused() {
        let whole = part(0, 1, ["outer", "direct", "nested"]);
        for length in 0..24 + 72 {
            let mut btf = Btf { parts: Vec::new(), ids: HashMap::new() };
            let cut = whole[..length].to_vec();
            let read = btf.add(cut, &["outer"]).and_then(|()| btf.offset_of("outer", "nested"));
            assert!(read.is_err(), "{length}");
        }
        assert!(length_behind(20, 0).is_err() && length_behind(0, 0).is_err());
    }
}
