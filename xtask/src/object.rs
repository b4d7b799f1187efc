//! The BPF object as an ELF file: debug information removed, contents checked and measured.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use macvlan_common::names;
use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind, SymbolKind,
    build::elf::{Builder, SectionData},
    elf::SHT_STRTAB,
    read::elf::ElfFile64,
};

use crate::btf;

/// Bytes of a BPF instruction.
const INSTRUCTION: u64 = 8;

/// What the kernel must be told; it admits helpers that are for GPL programs only.
const LICENSE: &[u8] = b"Dual MIT/GPL\0";

/// The object without DWARF and lines of the sources, and with its BTF in an order of its own: that stays,
/// for the functions that programs share and for `bpftool`. Its relocations go: they repeat what it holds, for a linker, and loaders
/// find their own way (libbpf and aya both pass them by).
///
/// # Errors
/// `elf` is no ELF file of a kind this can rewrite.
pub fn strip(elf: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read64(elf).context("cannot read the object")?;
    let mut described = Vec::new();
    let mut has_section_names = false;
    for section in &mut builder.sections {
        section.delete = is_dwarf(&section.name);
        if section.delete || is_btf(&section.name) {
            described.push(section.id());
        }
        has_section_names |= matches!(section.data, SectionData::SectionString);
    }
    for section in &mut builder.sections {
        section.delete |= section.sh_info_section.is_some_and(|of| described.contains(&of));
    }
    if !has_section_names {
        // The linker keeps the names of sections among those of symbols.
        let names = builder.sections.add();
        names.name = ".shstrtab".into();
        names.sh_type = SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    let [mut types, mut ext] = [".BTF", ".BTF.ext"].map(|name| data_of(&builder, name));
    if let Some(types) = &mut types {
        btf::sort_forwards(types)?;
    }
    if let (Some(all), Some(all_ext)) = (&types, &ext) {
        let (short, short_ext) = btf::without_lines(all, all_ext)?;
        (types, ext) = (Some(short), Some(short_ext));
    }
    for section in &mut builder.sections {
        let new = match section.name.as_slice() {
            b".BTF" => types.take(),
            b".BTF.ext" => ext.take(),
            _ => None,
        };
        if let Some(new) = new {
            section.data = SectionData::Data(new.into());
        }
    }
    builder.set_section_sizes();
    let mut stripped = Vec::new();
    builder.write(&mut stripped).context("cannot write the object")?;
    Ok(stripped)
}

fn data_of(builder: &Builder<'_>, name: &str) -> Option<Vec<u8>> {
    let section = builder.sections.iter().find(|section| *section.name == *name.as_bytes())?;
    match &section.data {
        SectionData::Data(data) => Some(data.to_vec()),
        _ => None,
    }
}

/// Checks that the object is whole, and counts the instructions of each program.
///
/// Functions shared by the programs are in `.text`, counted together under that name.
///
/// # Errors
/// Something is missing, or something is there that should not be.
pub fn inspect(elf: &[u8]) -> Result<BTreeMap<String, u64>> {
    let file = ElfFile64::<object::Endianness>::parse(elf).context("cannot read the object")?;
    ensure!(file.architecture() == object::Architecture::Bpf, "the object is not for BPF");
    ensure!(file.is_little_endian(), "the object is not little-endian");
    for section in file.sections() {
        let name = section.name_bytes().context("cannot read a section's name")?;
        ensure!(!is_dwarf(name), "the object has debug information: '{}'", String::from_utf8_lossy(name));
    }
    for section in [".BTF", ".BTF.ext", "maps"] {
        ensure!(file.section_by_name(section).is_some(), "the object has no section '{section}'");
    }
    let license = file.section_by_name("license").context("the object has no section 'license'")?;
    ensure!(license.data()? == LICENSE, "the object's license is not {:?}", String::from_utf8_lossy(LICENSE));
    for map in names::MAPS {
        ensure!(file.symbol_by_name(map).is_some(), "the object has no map '{map}'");
    }
    let counts = instructions(&file)?;
    let others =
        [names::CHILD_EGRESS, names::FLOOD_EGRESS, names::FLOOD_INGRESS, names::OWN_INGRESS, names::EAR];
    for program in names::TRACED.iter().flat_map(|(plain, traced)| [plain, traced]).chain(&others) {
        ensure!(counts.contains_key(*program), "the object has no program '{program}'");
    }
    Ok(counts)
}

/// Fails when one of `needles` (paths of this machine, addresses) is in the object.
///
/// # Errors
/// The first that is found, with what is around it.
pub fn refuse_strings(elf: &[u8], needles: &[String]) -> Result<()> {
    for needle in needles.iter().filter(|needle| !needle.is_empty()) {
        let Some(at) = find(elf, needle.as_bytes()) else { continue };
        bail!("the object contains {needle:?}, in {:?}", text_around(elf, at));
    }
    Ok(())
}

fn is_dwarf(section: &[u8]) -> bool {
    section.starts_with(b".debug_")
}

fn is_btf(section: &[u8]) -> bool {
    section == b".BTF" || section == b".BTF.ext"
}

fn instructions(file: &ElfFile64<'_>) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0) {
        let Some(index) = symbol.section_index() else { continue };
        let section = file.section_by_index(index)?;
        if section.kind() != SectionKind::Text {
            continue;
        }
        let name = section.name()?;
        let owner = if name.starts_with(".text") { ".text" } else { symbol.name()? };
        *counts.entry(owner.to_owned()).or_default() += symbol.size() / INSTRUCTION;
    }
    Ok(counts)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// The printable characters on both sides of `at`.
fn text_around(bytes: &[u8], at: usize) -> String {
    let printable = |byte: &&u8| byte.is_ascii_graphic() || **byte == b' ';
    let before = bytes[..at].iter().rev().take_while(printable).count();
    let after = bytes[at..].iter().take_while(printable).count();
    String::from_utf8_lossy(&bytes[at - before..at + after]).into_owned()
}

#[cfg(test)]
mod tests {
    use object::{
        Endianness,
        elf::{
            EM_BPF, ET_REL, SHF_ALLOC, SHF_EXECINSTR, SHF_INFO_LINK, SHT_PROGBITS, SHT_REL, SHT_SYMTAB,
            STB_GLOBAL, STT_FUNC,
        },
    };

    use super::*;

    #[test]
    fn stripping_removes_debug_information_and_nothing_else() {
        let elf = small_object(&["xdp", ".relxdp", ".debug_info", ".rel.debug_info", ".BTF", ".rel.BTF"]);
        let stripped = strip(&elf).unwrap();
        let file = ElfFile64::<Endianness>::parse(&*stripped).unwrap();
        let sections: Vec<_> = file.sections().map(|section| section.name().unwrap()).collect();
        assert_eq!(sections, [".symtab", "xdp", ".relxdp", ".BTF", ".strtab", ".shstrtab"]);
        assert_eq!(file.section_by_name(".BTF").unwrap().data().unwrap(), EMPTY_BTF);
    }

    #[test]
    fn stripping_twice_is_stripping_once() {
        let once = strip(&small_object(&["xdp", ".debug_info"])).unwrap();
        assert_eq!(strip(&once).unwrap(), once);
    }

    #[test]
    fn a_program_is_as_long_as_its_symbol_says() {
        let elf = small_object(&["xdp", ".text"]);
        let counts = instructions(&ElfFile64::parse(&*elf).unwrap()).unwrap();
        assert_eq!(counts, [("in_xdp".to_owned(), 3), (".text".to_owned(), 3)].into());
    }

    #[test]
    fn an_object_that_lacks_something_is_refused() {
        let error = inspect(&small_object(&["xdp", ".BTF"])).unwrap_err();
        assert_eq!(error.to_string(), "the object has no section '.BTF.ext'");
        let error = inspect(&small_object(&["xdp", ".debug_info"])).unwrap_err();
        assert_eq!(error.to_string(), "the object has debug information: '.debug_info'");
    }

    #[test]
    fn a_path_of_the_machine_is_found_with_its_surroundings() {
        let elf = b"\0\x01/builder/src/lib.rs\0rest";
        let error = refuse_strings(elf, &["absent".into(), "/src/".into()]).unwrap_err();
        assert_eq!(error.to_string(), r#"the object contains "/src/", in "/builder/src/lib.rs""#);
        refuse_strings(elf, &["absent".into(), String::new()]).unwrap();
    }

    /// A header, and neither types nor names.
    const EMPTY_BTF: [u8; 24] =
        [0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    /// An object with these sections of 24 bytes, a function over each executable one, and no entry in
    /// those of relocations, which belong to the section before.
    fn small_object(names: &[&'static str]) -> Vec<u8> {
        let mut builder = Builder::new(Endianness::Little, true);
        builder.header.e_type = ET_REL;
        builder.header.e_machine = EM_BPF;
        let symbols = builder.sections.add().id();
        let mut last = None;
        for &name in names {
            let section = builder.sections.add();
            section.name = name.into();
            if name.starts_with(".rel") {
                section.sh_type = SHT_REL;
                section.sh_flags = u64::from(SHF_INFO_LINK);
                section.sh_link_section = Some(symbols);
                section.sh_info_section = last;
                section.data = SectionData::Relocation(Vec::new());
                continue;
            }
            last = Some(section.id());
            section.sh_type = SHT_PROGBITS;
            section.sh_addralign = 1;
            section.data =
                SectionData::Data(if name == ".BTF" { EMPTY_BTF } else { [7; 24] }.to_vec().into());
            if matches!(name, "xdp" | ".text") {
                section.sh_flags = u64::from(SHF_ALLOC | SHF_EXECINSTR);
                let id = section.id();
                let symbol = builder.symbols.add();
                symbol.name = format!("in_{name}").into_bytes().into();
                symbol.section = Some(id);
                symbol.st_size = 24;
                symbol.set_st_info(STB_GLOBAL, STT_FUNC);
            }
        }
        let strings = builder.sections.add().id();
        let section_names = builder.sections.add().id();
        for (id, name, sh_type, data) in [
            (symbols, ".symtab", SHT_SYMTAB, SectionData::Symbol),
            (strings, ".strtab", SHT_STRTAB, SectionData::String),
            (section_names, ".shstrtab", SHT_STRTAB, SectionData::SectionString),
        ] {
            let section = builder.sections.get_mut(id);
            section.name = name.into();
            section.sh_type = sh_type;
            section.data = data;
        }
        builder.set_section_sizes();
        let mut elf = Vec::new();
        builder.write(&mut elf).unwrap();
        elf
    }
}
