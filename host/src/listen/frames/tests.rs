use super::*;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn begun(max_control_frames: u32) -> Frames {
    let mut frames = Frames::new(PREFACE.len(), max_control_frames);
    frames.follow(&frame(4, 0, 0, &[]), 0).expect("settings");
    frames
}

#[test]
fn a_head_is_open_from_its_first_byte_to_its_last() {
    let mut frames = Frames::new(3, 10);
    let mut feed = |bytes: &[u8]| {
        let open = bytes.iter().map(|byte| {
            frames.follow(&[*byte], 0).expect("no flood");
            frames.is_head_open()
        });
        open.collect::<Vec<_>>()
    };
    let open_until_the_last = |open: &[bool]| {
        let (last, before) = open.split_last().expect("some");
        !last && before.iter().all(|open| *open)
    };
    let mut start = PREFACE[3..].to_vec();
    start.extend(frame(4, 0, 0, &[0; 6]));
    assert!(open_until_the_last(&feed(&start)));
    assert!(open_until_the_last(&feed(&frame(1, END_HEADERS, 1, b"head"))));
    let mut parts = frame(1, 0, 3, b"head");
    parts.extend(frame(CONTINUATION, 0, 3, b"more"));
    parts.extend(frame(CONTINUATION, END_HEADERS, 3, b"rest"));
    assert!(open_until_the_last(&feed(&parts)));
    let data = feed(&frame(DATA, 0, 3, b"data"));
    assert_eq!(data, [[true; 8].as_slice(), &[false; 5]].concat(), "a body is no head");
    assert_eq!(frames.last_stream(), 3);
}

#[test]
fn frames_that_bring_nothing_are_a_flood_when_there_are_too_many() {
    for (what, each, most) in [
        ("PING", frame(6, 0, 0, &[0; 8]), 9),
        ("SETTINGS", frame(4, 0, 0, &[]), 9),
        ("RST_STREAM", frame(3, 0, 1, &[0; 4]), 9),
        ("PRIORITY", frame(2, 0, 1, &[0; 5]), 9),
        ("WINDOW_UPDATE", frame(8, 0, 0, &[0, 0, 0, 1]), 9),
        ("unknown", frame(77, 0, 0, b"abc"), 9),
        ("CONTINUATION", frame(CONTINUATION, 0, 1, b"abc"), 9),
        ("DATA of nothing", frame(DATA, 0, 1, &[]), 9),
        ("DATA of padding", frame(DATA, PADDED, 1, &[3, 0, 0, 0]), 9),
        ("DATA of next to nothing", frame(DATA, 0, 1, b"a"), 36),
    ] {
        let mut frames = begun(10);
        for number in 0..most {
            assert_eq!(frames.follow(&each, 0), Ok(()), "{what} {number}");
        }
        assert_eq!(frames.follow(&each, 0), Err(Flood), "{what}");
    }
    let mut frames = begun(10);
    for _ in 0..1_000 {
        frames.follow(&frame(DATA, 0, 1, &[0; 128]), 0).expect("it brings something");
        frames.follow(&frame(DATA, END_STREAM, 1, &[]), 0).expect("it ends something");
        frames.follow(&frame(1, END_HEADERS, 1, b"head"), 0).expect("it asks for something");
    }
}

#[test]
fn who_takes_much_may_say_so() {
    let mut frames = begun(10);
    for taken in 1..1_000 {
        let update = frame(8, 0, 0, &[0, 0, 4, 0]);
        frames.follow(&update, taken * BYTES_A_FRAME).expect("it took something");
    }
}

#[test]
fn it_does_not_matter_how_the_bytes_come() {
    let mut bytes = PREFACE.to_vec();
    for number in 0..5 {
        bytes.extend(frame(4, 0, 0, &[0; 6]));
        bytes.extend(frame(1, END_HEADERS, number * 2 + 1, &[7; 40]));
        bytes.extend(frame(DATA, PADDED, number * 2 + 1, &[2, 1, 1, 0, 0]));
    }
    for size in [1, 2, 3, 7, 9, 10, 50, bytes.len()] {
        let mut frames = Frames::new(0, 100);
        bytes.chunks(size).for_each(|chunk| frames.follow(chunk, 0).expect("no flood"));
        assert!(!frames.is_head_open());
        assert_eq!(
            (frames.last_stream(), frames.count.count),
            (9, 5 * NOTHING + 5 * LITTLE),
            "{size}"
        );
    }
}
