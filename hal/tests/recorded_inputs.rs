//! Unusual and broken inputs of the recorded backend: each gives what it holds, or says what is
//! wrong and where.

#[cfg(test)]
mod common;

use std::fs;
use std::path::Path;

use common::make::{self, SHAPE, any_length, encode, gray, open, skipped};
use image::ImageFormat;
use shoal_hal::backend::recorded::{Drives, OpenError, RecordedOptions, write_split_json};
use shoal_hal::{Drive, Motion};

/// The gray of each frame, at its middle.
fn levels(drive: &Drive) -> Vec<u8> {
    (0..drive.len()).map(|index| drive.frame(index)[SHAPE.bytes() / 2]).collect()
}

fn hex(sha256: [u8; 32]) -> String {
    sha256.iter().map(|byte| format!("{byte:02x}")).collect()
}

// Folders of frames

#[test]
fn a_folder_counts_as_ten_hertz_unless_a_rate_is_given() {
    let dir = tempfile::tempdir().unwrap();
    make::folder(&dir.path().join("f"), &[10, 20, 30, 40, 50]);
    assert_eq!(levels(&open(dir.path()).unwrap().drives[0]), [10, 20, 30, 40, 50]);
    let at_20 = RecordedOptions { folder_rate_hz: 20.0, ..any_length() };
    let drives = Drives::open(dir.path(), SHAPE, 10.0, &at_20).unwrap().drives;
    assert_eq!(levels(&drives[0]), [10, 30, 50]);
    // A model faster than the source sees frames again.
    let drives = Drives::open(dir.path(), SHAPE, 20.0, &any_length()).unwrap().drives;
    assert_eq!(levels(&drives[0]), [10, 10, 20, 20, 30, 30, 40, 40, 50]);
}

/// A camera at `forward` m that looks ahead.
fn pose(forward: f64) -> String {
    format!("1 0 0 0 0 1 0 0 0 0 1 {forward}\n")
}

#[test]
fn poses_beside_frames_tell_how_the_vehicle_moved() {
    let dir = tempfile::tempdir().unwrap();
    make::folder(dir.path(), &[10, 20, 30, 40, 50]);
    let hash = open(dir.path()).unwrap().drives[0].source_sha256;
    let poses: String = (0..5).map(|frame| pose(f64::from(frame) * 0.5)).collect();
    fs::write(dir.path().join("poses.txt"), &poses).unwrap();
    let at = |folder_rate_hz: f64, rate_hz| {
        let options = RecordedOptions { folder_rate_hz, ..any_length() };
        Drives::open(dir.path(), SHAPE, rate_hz, &options).unwrap().drives.remove(0)
    };
    let drive = at(10.0, 10.0);
    assert_ne!(drive.source_sha256, hash, "poses are of the source");
    let even = |speed| Motion {
        speed_m_s: Some(speed),
        steering_rad: None,
        acceleration_m_s2: Some(0.0),
        lateral_acceleration_m_s2: Some(0.0),
    };
    assert!((0..5).all(|frame| drive.motion(frame) == Some(even(5.0))));
    // Frames that come twice as often are driven twice as fast; every second one is looked at.
    let drive = at(20.0, 10.0);
    assert_eq!((drive.len(), drive.motion(2)), (3, Some(even(10.0))));
}

#[test]
fn poses_that_are_none_or_too_few_are_named_with_their_line() {
    let dir = tempfile::tempdir().unwrap();
    make::folder(dir.path(), &[10, 20, 30]);
    let said = |poses: &str| {
        fs::write(dir.path().join("poses.txt"), poses).unwrap();
        skipped(dir.path())
    };
    let two = pose(0.0).repeat(2);
    assert!(said(&two).contains("poses.txt, line 3: there are fewer lines than frames"));
    assert!(said(&two.repeat(2)).contains("poses.txt, line 4: there are more lines than frames"));
    assert!(said(&format!("{two}1 0\n")).contains("line 3: it has fewer than twelve numbers"));
    assert!(said(&format!("{two}{}", pose(1e300))).contains("line 3: no camera was there"));
}

#[test]
fn gray_transparent_and_sixteen_bit_pictures_become_rgb() {
    let dir = tempfile::tempdir().unwrap();
    image::GrayImage::from_pixel(32, 16, image::Luma([77])).save(dir.path().join("0.png")).unwrap();
    image::RgbaImage::from_pixel(32, 16, image::Rgba([1, 2, 3, 4]))
        .save(dir.path().join("1.png"))
        .unwrap();
    image::ImageBuffer::<image::Rgb<u16>, _>::from_pixel(32, 16, image::Rgb([0, 0x8080, 0xffff]))
        .save(dir.path().join("2.png"))
        .unwrap();
    let drive = &open(dir.path()).unwrap().drives[0];
    assert_eq!(drive.name, ".");
    for (index, pixel) in [[77, 77, 77], [1, 2, 3], [0, 128, 255]].iter().enumerate() {
        assert_eq!(&drive.frame(index)[..3], pixel);
    }
}

#[test]
fn a_jpeg_is_turned_upright_by_its_metadata() {
    let dir = tempfile::tempdir().unwrap();
    // Stored on its side, 16×32: white at the left, which Exif's 6 (turn right) makes the top.
    let mut picture = gray(16, 32, 0);
    for (x, _, pixel) in picture.enumerate_pixels_mut() {
        *pixel = image::Rgb([if x < 8 { 255 } else { 0 }; 3]);
    }
    let jpeg = encode(&picture, ImageFormat::Jpeg);
    let exif = b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let turned = [&jpeg[..2], exif, &jpeg[2..]].concat();
    fs::write(dir.path().join("0.jpg"), turned).unwrap();
    let drive = &open(dir.path()).unwrap().drives[0];
    let row =
        |y: usize| drive.frame(0)[y * 16 * 3..][..48].iter().map(|&v| u32::from(v)).sum::<u32>();
    assert!(row(0) > 48 * 240 && row(7) < 48 * 15, "{} {}", row(0), row(7));
}

#[test]
fn the_source_hash_is_over_the_files_in_order() {
    use sha2::{Digest, Sha256};
    let dir = tempfile::tempdir().unwrap();
    make::folder(&dir.path().join("f"), &[1, 2]);
    let bytes = ["f/0000.png", "f/0001.png"].map(|file| fs::read(dir.path().join(file)).unwrap());
    let want: [u8; 32] = Sha256::digest(bytes.concat()).into();
    assert_eq!(open(dir.path()).unwrap().drives[0].source_sha256, want);
}

#[test]
fn a_frame_of_another_size_is_named() {
    let dir = tempfile::tempdir().unwrap();
    make::folder(dir.path(), &[1, 2, 3, 4]);
    gray(32, 18, 3).save(dir.path().join("0002.png")).unwrap();
    let said = skipped(dir.path());
    assert!(said.contains("frame 2") && said.contains("0002.png"), "{said}");
    assert!(said.contains("32×18") && said.contains("32×16"), "{said}");
}

#[test]
fn a_picture_that_was_cut_off_or_is_none_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let picture = image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([x as u8 * 3, y as u8, 9]));
    for (format, name) in [(ImageFormat::Jpeg, "0.jpg"), (ImageFormat::Png, "0.png")] {
        let whole = encode(&picture, format);
        let path = dir.path().join(name);
        // A PNG's last 12 bytes are its end, those before them the end of its pixels.
        for length in [0, 1, 20, whole.len() / 2, whole.len() - 17] {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(skipped(dir.path()).contains(name), "{name} of {length} bytes");
        }
        fs::write(&path, b"<html>404 not found</html>").unwrap();
        assert!(skipped(dir.path()).contains(name));
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn no_byte_of_a_picture_panics() {
    let dir = tempfile::tempdir().unwrap();
    let picture = image::RgbImage::from_fn(24, 16, |x, y| image::Rgb([x as u8 * 9, y as u8, 200]));
    for (format, name) in [(ImageFormat::Jpeg, "0.jpg"), (ImageFormat::Png, "0.png")] {
        let whole = encode(&picture, format);
        let path = dir.path().join(name);
        for index in 0..whole.len() {
            let mut broken = whole.clone();
            broken[index] ^= [0xff, 0x01, 0x80][index % 3];
            fs::write(&path, broken).unwrap();
            // Whatever it says: it says it.
            let _ = open(dir.path());
        }
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_picture_is_refused_by_its_head_when_it_is_too_large() {
    let dir = tempfile::tempdir().unwrap();
    let mut png = encode(&gray(8, 8, 0), ImageFormat::Png);
    // Width and height of the IHDR, and its checksum, left as it was: the size comes first or the
    // checksum does, neither allocates four billion pixels.
    png[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    let mut crc = 0xffff_ffffu32;
    for &byte in &png[12..29] {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    png[29..33].copy_from_slice(&(!crc).to_be_bytes());
    fs::write(dir.path().join("0.png"), png).unwrap();
    let said = skipped(dir.path());
    assert!(said.contains("0.png"), "{said}");
}

// Tubs

#[test]
fn a_tub_is_twenty_hertz_without_its_deleted_records() {
    let dir = tempfile::tempdir().unwrap();
    make::tub(&dir.path().join("t"), &[10, 20, 30, 40, 50, 60, 70], "[1, 5]");
    let drive = &open(dir.path()).unwrap().drives[0];
    // Left: 10 30 40 50 70; every second one.
    for (level, want) in levels(drive).into_iter().zip([10u8, 40, 70]) {
        assert!(level.abs_diff(want) <= 1);
    }
    assert_eq!(drive.len(), 3);
    let lock = 25f32.to_radians();
    let want = Motion { steering_rad: Some(-0.03 * lock), ..Motion::default() };
    assert_eq!(drive.motion(1), Some(want));
}

#[test]
fn what_is_wrong_with_a_tub_is_named_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let tub = dir.path().join("t");
    make::tub(&tub, &[10, 20, 30], "[]");
    fs::remove_file(tub.join("images/2_cam_image_array_.jpg")).unwrap();
    let said = skipped(dir.path());
    assert!(said.contains("2_cam_image_array_.jpg"), "{said}");

    let record = |line: &str| {
        make::tub(&tub, &[10, 20, 30], "[]");
        let catalog = tub.join("catalog_0.catalog");
        let mut content = fs::read_to_string(&catalog).unwrap();
        content += line;
        fs::write(&catalog, content).unwrap();
        skipped(dir.path())
    };
    for line in [
        "{\"_index\": 3",
        "{\"_index\": 3}",
        "{\"_index\": 3, \"cam/image_array\": \"../../etc/passwd\"}",
        "{\"_index\": 3, \"cam/image_array\": \"0_cam_image_array_.jpg\", \"user/angle\": 7}",
        "{\"_index\": -3, \"cam/image_array\": \"0_cam_image_array_.jpg\"}",
        "\u{0}",
    ] {
        let said = record(line);
        assert!(said.contains("catalog_0.catalog, line 4"), "{line}: {said}");
    }
    for manifest in ["", "\n\n", "{}", "[1]", "{\"paths\": [\"../x\"]}"] {
        fs::write(tub.join("manifest.json"), manifest).unwrap();
        let said = skipped(dir.path());
        assert!(said.contains("manifest.json"), "{manifest}: {said}");
    }
    fs::write(tub.join("manifest.json"), "{\"paths\": [\"gone.catalog\"]}").unwrap();
    assert!(skipped(dir.path()).contains("gone.catalog"));
    fs::write(tub.join("manifest.json"), "{\"paths\": []}").unwrap();
    assert!(skipped(dir.path()).contains("no frame"));
}

#[test]
fn a_tub_of_the_old_form_is_not_taken_for_a_folder_of_frames() {
    let dir = tempfile::tempdir().unwrap();
    make::folder(dir.path(), &[1, 2, 3]);
    fs::write(dir.path().join("record_0.json"), "{}").unwrap();
    assert!(skipped(dir.path()).contains("convert_to_tub_v2"));
}

// Folders of drives

#[test]
fn a_folder_without_a_drive_and_a_folder_that_is_missing_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("README.txt"), "no drive").unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::Empty { .. })));
    assert!(matches!(open(&dir.path().join("gone")), Err(OpenError::List { .. })));
}

#[test]
fn frames_beyond_the_limit_end_the_opening() {
    let dir = tempfile::tempdir().unwrap();
    make::folder(&dir.path().join("f"), &[1, 2, 3, 4]);
    let bytes = 4 * SHAPE.bytes() as u64;
    let limit = |decoded_bytes_max| RecordedOptions { decoded_bytes_max, ..any_length() };
    assert!(Drives::open(dir.path(), SHAPE, 10.0, &limit(bytes)).is_ok());
    let error = Drives::open(dir.path(), SHAPE, 10.0, &limit(bytes - 1)).unwrap_err();
    assert!(matches!(error, OpenError::TooMuch { frame: 3, .. }), "{error}");
    // A rate that makes billions of frames of four pictures meets the limit, not the memory.
    let slow = RecordedOptions { folder_rate_hz: 0.001, ..limit(1 << 20) };
    let error = Drives::open(dir.path(), SHAPE, 10_000.0, &slow).unwrap_err();
    assert!(matches!(error, OpenError::TooMuch { .. }), "{error}");
}

#[test]
fn numbers_that_are_no_rate_size_or_angle_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    make::folder(dir.path(), &[1]);
    for rate in [0.0, -10.0, f64::NAN, f64::INFINITY] {
        let error = Drives::open(dir.path(), SHAPE, rate, &any_length());
        assert!(matches!(error, Err(OpenError::Rate { .. })));
    }
    let empty = shoal_hal::FrameShape { width: 0, height: 4 };
    let error = Drives::open(dir.path(), empty, 10.0, &any_length());
    assert!(matches!(error, Err(OpenError::Model { .. })));
    let lock = RecordedOptions { tub_lock_rad: f32::NAN, ..any_length() };
    let error = Drives::open(dir.path(), SHAPE, 10.0, &lock);
    assert!(matches!(error, Err(OpenError::Lock { .. })));
}

#[test]
fn a_drive_too_short_is_skipped_and_split_json_says_so() {
    let dir = tempfile::tempdir().unwrap();
    make::folder(&dir.path().join("long"), &[7; 60]);
    make::folder(&dir.path().join("short"), &[7; 40]);
    let opened = Drives::open(dir.path(), SHAPE, 10.0, &RecordedOptions::default()).unwrap();
    assert_eq!(opened.skipped[0].path, "short");
    let said = opened.skipped[0].to_string();
    assert!(said.contains("pack") && said.contains("8 more frames"), "{said}");

    let path = dir.path().join("split.json");
    write_split_json(&path, &opened.drives, &opened.skipped, 4).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let drive = &json["drives"][0];
    assert_eq!((json["schema"].as_u64(), json["context"].as_u64()), (Some(1), Some(4)));
    assert_eq!((drive["path"].as_str(), drive["rate"].as_f64()), (Some("long"), Some(10.0)));
    assert_eq!(drive["sha256"].as_str(), Some(&*hex(opened.drives[0].source_sha256)));
    assert_eq!(drive["parts"]["tuning"], serde_json::json!([[0, 35]]));
    assert_eq!(drive["parts"]["pack"], serde_json::json!([[40, 47]]));
    assert_eq!(drive["parts"]["held_out"], serde_json::json!([[52, 59]]));
    assert_eq!(json["skipped"][0]["path"], "short");
}

// Videos

#[test]
fn without_ffmpeg_the_package_to_install_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.mp4"), b"").unwrap();
    let absent = RecordedOptions { ffmpeg: "/no/such/ffmpeg".into(), ..any_length() };
    let error = Drives::open(dir.path(), SHAPE, 10.0, &absent).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("Debian package ffmpeg") && said.contains("a.mp4"), "{said}");
}

#[test]
fn frames_of_a_video_are_the_nearest_by_container_time() {
    if !common::ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let lumas: Vec<u8> = (0..25).map(|n| 20 + n * 8).collect();
    // RGB of luma y, limited range.
    let level = |n: usize| ((f64::from(lumas[n]) - 16.0) * 255.0 / 219.0).round() as u8;
    let check = |select: &str, want: &[usize]| {
        make::video(&dir.path().join("v.mp4"), "25", &lumas, select);
        let drive = &open(dir.path()).unwrap().drives[0];
        let want: Vec<u8> = want.iter().map(|&n| level(n)).collect();
        let got = levels(drive);
        let near = got.iter().zip(&want).all(|(a, b)| a.abs_diff(*b) <= 1);
        assert!(near && got.len() == want.len(), "{select}: {got:?}, want {want:?}");
    };
    // Ticks at frames 0, 2.5, 5 …: a tie is the earlier.
    check("null", &[0, 2, 5, 7, 10, 12, 15, 17, 20, 22]);
    // Frames 4 to 16 are missing: 5 and 7.5 are nearest to 3, 10 as near to 17, 12.5 nearer.
    check("select=lt(n\\,4)+gt(n\\,16)", &[0, 2, 3, 3, 3, 17, 17, 17, 20, 22]);
}

#[test]
fn colours_are_as_declared_and_bt601_limited_when_not() {
    if !common::ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let yuv = [110.0, 90.0, 200.0];
    let input: Vec<u8> =
        (0..3).flat_map(|_| yuv.into_iter().flat_map(|v| [v as u8; 64 * 32])).collect();
    let raw = ["-f", "rawvideo", "-pix_fmt", "yuv444p", "-s", "64x32", "-r", "10", "-i", "-"];
    let encode = ["-c:v", "libx264", "-qp", "0"];
    // Kr and Kb of the two standards.
    let (bt601, bt709) = ((0.299, 0.114), (0.2126, 0.0722));
    let cases: [(&[&str], _, bool); 4] = [
        (&[], bt601, false),
        (&["-colorspace", "smpte170m", "-color_range", "tv"], bt601, false),
        (&["-colorspace", "bt709", "-color_range", "tv"], bt709, false),
        (&["-colorspace", "bt709", "-color_range", "pc"], bt709, true),
    ];
    for (declared, (kr, kb), full) in cases {
        make::ffmpeg(
            &[&raw[..], declared, &encode, declared].concat(),
            &dir.path().join("c.mp4"),
            &input,
        );
        let (y, cb, cr) = if full {
            (yuv[0], yuv[1] - 128.0, yuv[2] - 128.0)
        } else {
            let chroma = 255.0 / 224.0;
            ((yuv[0] - 16.0) * 255.0 / 219.0, (yuv[1] - 128.0) * chroma, (yuv[2] - 128.0) * chroma)
        };
        let (r, b) = (y + 2.0 * (1.0 - kr) * cr, y + 2.0 * (1.0 - kb) * cb);
        let g = (y - kr * r - kb * b) / (1.0 - kr - kb);
        let drive = &open(dir.path()).unwrap().drives[0];
        for (got, want) in drive.frame(0).iter().zip([r, g, b]) {
            assert!((f64::from(*got) - want).abs() <= 2.0, "{declared:?}: {got}, want {want:.1}");
        }
    }
}

#[test]
fn a_video_is_turned_upright_by_its_metadata() {
    if !common::ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.mp4");
    // 32×64 on its side: white at the left.
    let frame: Vec<u8> = (0..64 * 32).map(|i| if i % 32 < 16 { 235 } else { 16 }).collect();
    let input = [&frame[..], &[128; 32 * 32]].concat().repeat(3);
    let raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "32x64", "-r", "10", "-i", "-"];
    make::ffmpeg(&[&raw[..], &["-c:v", "libx264", "-qp", "0"]].concat(), &path, &input);
    let sides = |dir: &Path| {
        let drive = &open(dir).unwrap().drives[0];
        let frame = drive.frame(0).to_vec();
        let at = |x: usize, y: usize| frame[(y * 16 + x) * 3] > 128;
        (at(8, 0), at(8, 7), at(1, 4), at(14, 4)) // top, bottom, left, right
    };
    let (.., left, right) = sides(dir.path());
    assert_eq!((left, right), (true, false));
    // The matrix of the track's header, 16.16: a quarter turn to the right, left becomes top.
    let mut mp4 = fs::read(&path).unwrap();
    let header = mp4.windows(4).position(|name| name == b"tkhd").unwrap();
    let one = 0x1_0000i32;
    let matrix = [0, one, 0, -one, 0, 0, 0, 0, 0x4000_0000];
    for (index, value) in matrix.into_iter().enumerate() {
        mp4[header + 44 + index * 4..][..4].copy_from_slice(&i32::to_be_bytes(value));
    }
    fs::write(&path, mp4).unwrap();
    let (top, bottom, ..) = sides(dir.path());
    assert_eq!((top, bottom), (true, false));
}

#[test]
fn a_video_that_was_cut_off_is_skipped_wherever_it_was_cut() {
    if !common::ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v.mp4");
    let lumas: Vec<u8> = (0..20).map(|n| 20 + n * 8).collect();
    make::video(&path, "10", &lumas, "null");
    let whole = fs::read(&path).unwrap();
    assert_eq!(open(dir.path()).unwrap().drives[0].len(), 20);
    let data = whole.windows(4).position(|name| name == b"mdat").unwrap();
    let mut cuts: Vec<usize> = vec![0, 7, 100, data, data + 4];
    cuts.extend((data + 8..whole.len()).step_by((whole.len() - data) / 12 + 1));
    cuts.push(whole.len() - 1);
    for cut in cuts {
        fs::write(&path, &whole[..cut]).unwrap();
        let said = skipped(dir.path());
        assert!(said.contains("v.mp4"), "cut at {cut} of {}: {said}", whole.len());
    }
}

#[test]
fn what_is_named_mp4_and_is_none_is_skipped() {
    if !common::ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.mp4");
    let other = dir.path().join("frames");
    make::folder(&other, &[1, 2, 3]);
    // Lists that make ffmpeg open other files, when it is let guess what a file is.
    let list = format!("ffconcat version 1.0\nfile '{}/0000.png'\n", other.display());
    let playlist = format!("#EXTM3U\n#EXTINF:1,\n{}/0000.png\n#EXT-X-ENDLIST\n", other.display());
    for content in [b"".as_slice(), b"not a video", list.as_bytes(), playlist.as_bytes()] {
        fs::write(&path, content).unwrap();
        let opened = open(dir.path()).unwrap();
        assert_eq!(opened.drives.len(), 1);
        let said = opened.skipped[0].to_string();
        assert!(said.contains("x.mp4") && said.contains("ffmpeg"), "{said}");
    }
}

#[test]
fn a_video_without_a_frame_is_skipped() {
    if !common::ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.mp4");
    make::ffmpeg(&["-f", "lavfi", "-i", "sine=d=0.2", "-c:a", "aac"], &path, b"");
    let said = skipped(dir.path());
    assert!(said.contains("s.mp4"), "{said}");
    // A video track that lost its samples: count 0 in the tables of sizes, times and chunks.
    make::video(&path, "10", &[50; 5], "null");
    let mut mp4 = fs::read(&path).unwrap();
    for (table, count) in [(b"stts", 8), (b"stsz", 12), (b"stco", 8), (b"stsc", 8), (b"stss", 8)] {
        if let Some(at) = mp4.windows(4).position(|name| name == table) {
            mp4[at + count..][..4].fill(0);
        }
    }
    fs::write(&path, mp4).unwrap();
    let said = skipped(dir.path());
    assert!(said.contains("s.mp4"), "{said}");
}
