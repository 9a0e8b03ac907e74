//! Files that hold a log in a form that is not read here, by their first bytes.

/// Where a tar archive names its format, and the name.
const TAR: (usize, &[u8]) = (257, b"ustar");

/// Other forms: how they begin, what they are, and the program that makes lines of them.
const FORMS: [(&[u8], &str, &str); 6] = [
    (b"\x28\xb5\x2f\xfd", "packed by zstd", "zstd -dc"),
    (b"\xfd7zXZ\0", "packed by xz", "xz -dc"),
    (b"BZh", "packed by bzip2", "bzip2 -dc"),
    (b"PK\x03\x04", "a zip archive", "unzip -p"),
    (b"\xff\xfe", "UTF-16", "iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "UTF-16", "iconv -f UTF-16 -t UTF-8"),
];

/// Says what a file is that begins so, and what to do with it. `None` if it may be a log.
pub fn why(start: &[u8], file: &str) -> Option<String> {
    let (at, mark) = TAR;
    let tar = start.get(at..).is_some_and(|rest| rest.starts_with(mark));
    let form = FORMS.iter().find(|(mark, ..)| start.starts_with(mark));
    let (what, program) = match form {
        Some((_, what, program)) => (*what, *program),
        None if tar => ("a tar archive", "tar -xOf"),
        None => return None,
    };
    // What comes through a pipe has passed a program already.
    let way =
        if file == "-" { program.to_owned() } else { format!("{program} '{file}' | make replay LOG=- …") };
    Some(format!("it is {what}, and logs are read plain or packed by gzip. Use: {way}"))
}
