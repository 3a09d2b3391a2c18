//! The published benchmarks, on small files of their original formats.

use std::fmt::Write as _;

use approx::assert_relative_eq;
use ncps_datasets::{Dataset, Error, Task, benchmarks};

use crate::support::{Folder, first_batch, npy, zip};

fn load(folder: &Folder, name: &str) -> Result<Dataset, Error> {
    folder.load(&format!("kind = \"benchmark\"\nname = \"{name}\""))
}

fn sizes(dataset: &Dataset) -> [usize; 3] {
    [
        dataset.train.len(),
        dataset.validation.len(),
        dataset.test.len(),
    ]
}

fn classes(dataset: &Dataset) -> usize {
    match &dataset.schema.task {
        Task::Classification { classes } => classes.len(),
        Task::Regression => 0,
    }
}

#[test]
fn a_missing_file_names_its_place_and_the_command() {
    for info in benchmarks()
        .iter()
        .filter(|info| !["cheetah", "occupancy"].contains(&info.name))
    {
        let error = load(&Folder::new(), info.name).unwrap_err();
        let text = error.to_string();
        let command = format!("ncps data get {}", info.name);
        assert!(
            text.contains(&command) && text.contains(&format!("data/{}", info.name)),
            "{text}"
        );
    }
}

#[test]
fn files_are_found_in_a_folder_of_the_archive_too() {
    let folder = Folder::new();
    let walker = benchmarks()
        .iter()
        .find(|info| info.name == "walker")
        .unwrap();
    assert_eq!(walker.lacking(folder.path()), ["rollout_000.npy"]);
    folder.write("walker/rollout_000.npy", "");
    assert!(walker.lacking(folder.path()).is_empty());
    assert_eq!(
        walker.lacking(&folder.path().join("nowhere")),
        ["rollout_000.npy"]
    );
}

/// A processed file: 32 columns of velocities and accelerations, and the phase as a letter.
fn gesture(rows: usize, first: usize, phase: impl Fn(usize) -> &'static str) -> String {
    let names: Vec<String> = (first..first + 32)
        .map(|column| column.to_string())
        .collect();
    let mut text = names.join(",") + ",Phase\n";
    for row in 0..rows {
        for column in 0..32 {
            let _ = write!(text, "{}.00{}E-3,", row % 7, column);
        }
        text += phase(row);
        text += "\n";
    }
    text
}

#[test]
fn gestures_are_interleaved_windows_of_seven_files() {
    let folder = Folder::new();
    for (place, name) in ["a1", "a2", "a3", "b1", "b3", "c1", "c3"]
        .iter()
        .enumerate()
    {
        // Columns count by their place, whatever the header calls them.
        let text = gesture(100, 1 + place, |row| ["D", "P", "S", "H", "R"][row / 20]);
        folder.write(&format!("data/gesture/{name}_va3.csv"), text);
    }
    let dataset = load(&folder, "gesture").unwrap();
    // Three whole windows a file with two between them make 35; a tenth validates, 15 % test.
    assert_eq!((sizes(&dataset), classes(&dataset)), ([27, 3, 5], 5));
    assert_eq!((dataset.inputs(), dataset.train.time()), (32, 32));
    folder.write("data/gesture/a1_va3.csv", gesture(2, 1, |_| "X"));
    let error = load(&folder, "gesture").unwrap_err();
    assert!(error.to_string().contains("`X` is none of D"), "{error}");
    folder.write(
        "data/gesture/a1_va3.csv",
        "lhx,lhy,timestamp,Phase\n1,2,3,Rest\n",
    );
    let error = load(&folder, "gesture").unwrap_err();
    assert!(error.to_string().contains("_va3.csv"), "{error}");
}

#[test]
fn activities_have_561_features() {
    let folder = Folder::new();
    for part in ["train", "test"] {
        let row = |row: usize| {
            (0..561)
                .map(|column| format!("  {}.0000000e-002", row + column))
                .collect::<String>()
        };
        let text: String = (0..40).map(|index| row(index) + "\n").collect();
        let labels: String = (0..40).map(|row| format!("{}\r\n", 1 + row % 6)).collect();
        folder.write(
            &format!("data/har/UCI HAR Dataset/{part}/X_{part}.txt"),
            text,
        );
        folder.write(
            &format!("data/har/UCI HAR Dataset/{part}/y_{part}.txt"),
            labels,
        );
    }
    let dataset = load(&folder, "har").unwrap();
    assert_eq!((sizes(&dataset), classes(&dataset)), ([22, 2, 3], 6));
    assert_relative_eq!(first_batch(&dataset.test, 1).x[561], 0.01);
    folder.write("data/har/UCI HAR Dataset/test/X_test.txt", "1 2 3\n");
    assert!(matches!(
        load(&folder, "har"),
        Err(Error::RaggedRow {
            row: 1,
            found: 3,
            ..
        })
    ));
}

fn idx(shape: &[u32], values: Vec<u8>) -> Vec<u8> {
    let head = [
        &[0, 0, 8, shape.len() as u8][..],
        &shape
            .iter()
            .flat_map(|size| size.to_be_bytes())
            .collect::<Vec<_>>(),
    ]
    .concat();
    [head, values].concat()
}

fn digits(name: &str) -> Folder {
    let folder = Folder::new();
    for (prefix, count) in [("train", 20u32), ("t10k", 10)] {
        let pixels = (0..count)
            .flat_map(|image| (0..16).map(move |at| if (at + image) % 5 < 2 { 200 } else { 9 }))
            .collect();
        folder.write(
            &format!("data/{name}/{prefix}-images-idx3-ubyte"),
            idx(&[count, 4, 4], pixels),
        );
        let labels = (0..count).map(|image| image as u8 % 10).collect();
        folder.write(
            &format!("data/{name}/{prefix}-labels-idx1-ubyte"),
            idx(&[count], labels),
        );
    }
    folder
}

#[test]
fn digits_come_row_by_row_or_as_events() {
    let rows = load(&digits("smnist"), "smnist").unwrap();
    assert_eq!(
        (
            sizes(&rows),
            classes(&rows),
            rows.train.time(),
            rows.inputs()
        ),
        ([18, 2, 10], 10, 4, 4)
    );
    let events = load(&digits("event_smnist"), "event_smnist").unwrap();
    assert_eq!((sizes(&events), events.inputs()), ([18, 2, 10], 1));
    let batch = first_batch(&events.train, 1);
    // The first image is 2 of ink, 3 of paper, and so on: events at pixels 1, 3, 6, 8, ...
    assert_eq!(batch.x[..4], [1.0, 0.0, 1.0, 0.0]);
    let spans = batch.timespans.unwrap();
    let expected = [1.0, 2.0, 3.0, 2.0].map(|span: f32| span / 256.0);
    assert_eq!(spans[..4], expected);
}

#[test]
fn power_repeats_missing_readings() {
    let folder = Folder::new();
    let mut text = String::from(
        "Date;Time;Global_active_power;Global_reactive_power;Voltage;Global_intensity;Sub_metering_1;Sub_metering_2;Sub_metering_3\n",
    );
    for row in 0..1000 {
        let time = format!("16/12/2006;{:02}:{:02}:00", 17 + row / 60 % 7, row % 60);
        let _ = if row == 7 {
            // What a minute without readings looks like: the last field is empty.
            writeln!(text, "{time};?;?;?;?;?;?;")
        } else {
            writeln!(
                text,
                "{time};{}.216;0.418;{}.840;18.400;0.000;1.000;{}.000",
                row % 50,
                230 + row % 9,
                row % 17
            )
        };
    }
    folder.write("data/power/household_power_consumption.txt", text);
    let dataset = load(&folder, "power").unwrap();
    // 31 windows one behind another, but for one that would end with the file.
    assert_eq!(sizes(&dataset), [24, 3, 4]);
    assert_eq!((dataset.inputs(), dataset.outputs()), (6, 1));
    assert!((dataset.baseline().metrics["mse"] - 1.0).abs() < 0.3);
}

#[test]
fn traffic_knows_weekday_hour_and_holiday() {
    let folder = Folder::new();
    let mut text = String::from(
        "holiday,temp,rain_1h,snow_1h,clouds_all,weather_main,weather_description,date_time,traffic_volume\n",
    );
    for row in 0..200 {
        let holiday = if row == 0 { "Columbus Day" } else { "None" };
        let (day, hour) = (2 + row / 24, row % 24);
        let _ = writeln!(
            text,
            "{holiday},{}.28,0.0,0.0,40,Clouds,scattered clouds,2012-10-{day:02} {hour:02}:00:00,{}",
            288 + row % 3,
            5000 + row
        );
    }
    folder.write("data/traffic/Metro_Interstate_Traffic_Volume.csv", text);
    let config = "kind = \"benchmark\"\nname = \"traffic\"\nnormalise = { features = \"none\", targets = \"none\" }";
    let dataset = folder.load(config).unwrap();
    assert_eq!(sizes(&dataset), [32, 4, 6]);
    let first = dataset.train.windows().position(|window| window.start == 0);
    let batch = first_batch(&dataset.train, 32);
    // 2 October 2012 was a Tuesday.
    if let Some(place) = first {
        let row = &batch.x[place * 32 * 7..][..7];
        assert_eq!((row[0], row[5], row[6]), (1.0, 1.0, 0.0));
    }
}

#[test]
fn ozone_takes_gaps_for_zero() {
    let folder = Folder::new();
    let row = |row: usize| {
        let readings: Vec<String> = (0..72)
            .map(|column| {
                if column == row % 72 {
                    "?".to_owned()
                } else {
                    format!("{}.5", column % 5)
                }
            })
            .collect();
        format!(
            "{}/{}/1998,{},{}.\n",
            1 + row / 28,
            1 + row % 28,
            readings.join(","),
            row % 9 / 8
        )
    };
    folder.write(
        "data/ozone/eighthr.data",
        (0..200).map(row).collect::<String>(),
    );
    let dataset = load(&folder, "ozone").unwrap();
    assert_eq!(
        (sizes(&dataset), dataset.inputs(), classes(&dataset)),
        ([32, 4, 6], 72, 2)
    );
    folder.write("data/ozone/eighthr.data", "1/1/1998,1,2,0.\n");
    assert!(matches!(
        load(&folder, "ozone"),
        Err(Error::RaggedRow { expected: 74, .. })
    ));
}

#[test]
fn persons_are_timed_in_tenths_of_a_second() {
    let folder = Folder::new();
    let mut text = String::new();
    for person in ["A01", "A02", "B01"] {
        for row in 0..200u64 {
            let tag = [
                "010-000-024-033",
                "010-000-030-096",
                "020-000-033-111",
                "020-000-032-221",
            ][row as usize % 4];
            let tick = 633_790_226_051_280_000 + row * 270_000;
            let what = ["walking", "lying down", "falling", "sitting"][row as usize / 50];
            let _ = writeln!(
                text,
                "{person},{tag},{tick},27.05.2009 14:03:25:127,4.062931060791016,1.8924342393875122,{}.5074254274368286,{what}",
                row % 3
            );
        }
    }
    folder.write("data/person/ConfLongDemo_JSI.txt", &text);
    let dataset = load(&folder, "person").unwrap();
    // Eleven windows each of two persons; the third, the last of the file, is left out.
    assert_eq!((sizes(&dataset), classes(&dataset)), ([16, 2, 4], 7));
    let batch = first_batch(&dataset.train, 1);
    assert_relative_eq!(batch.timespans.unwrap()[1], 0.27, epsilon = 1e-5);
    assert_relative_eq!(batch.x[..4].iter().sum::<f32>(), 1.0);
    folder.write(
        "data/person/ConfLongDemo_JSI.txt",
        text.replace("falling", "flying"),
    );
    let error = load(&folder, "person").unwrap_err();
    assert!(error.to_string().contains("`flying`"), "{error}");
}

#[test]
fn patients_have_masks_and_hours() {
    let folder = Folder::new();
    let mut outcomes =
        String::from("RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death\n");
    for patient in 0..20 {
        let record = format!(
            "Time,Parameter,Value\n00:00,RecordID,{}\n00:00,Age,54\n00:00,Gender,0\n00:00,Height,-1\n00:00,ICUType,4\n00:00,Weight,{}\n\
             01:07,Temp,{}.1\n00:37,HR,77\n00:37,HR,79\n01:07,,\n",
            132_539 + patient,
            60 + patient,
            35 + patient % 4
        );
        folder.write(
            &format!("data/physionet/set-a/{}.txt", 132_539 + patient),
            record,
        );
        let _ = writeln!(outcomes, "{},6,1,5,-1,{}", 132_539 + patient, patient % 2);
    }
    folder.write("data/physionet/Outcomes-a.txt", &outcomes);
    let dataset = load(&folder, "physionet").unwrap();
    assert_eq!(
        (sizes(&dataset), dataset.inputs(), dataset.train.time()),
        ([15, 1, 4], 82, 3)
    );
    let place = |name: &str| {
        dataset
            .schema
            .features
            .iter()
            .position(|known| known == name)
            .unwrap()
    };
    let batch = first_batch(&dataset.train, 1);
    let value = |row: usize, name: &str| batch.x[row * 82 + place(name)];
    let masks = [
        value(0, "Age observed"),
        value(0, "Height observed"),
        value(1, "HR observed"),
        value(2, "HR observed"),
    ];
    assert_eq!(masks.map(|mask| mask > 0.5), [true, false, true, false]);
    // Two readings of 77 and 79 at one time are 78, the same in all records, so that scaling leaves 0.
    assert_relative_eq!(dataset.schema.normaliser.features[place("HR")].shift, 78.0);
    folder.write(
        "data/physionet/set-a/1.txt",
        "Time,Parameter,Value\n00:00,Age,54\n",
    );
    let error = load(&folder, "physionet").unwrap_err();
    assert!(error.to_string().contains("1.txt"), "{error}");
}

#[test]
fn walkers_lose_a_tenth_of_their_frames() {
    let folder = Folder::new();
    for file in 0..20 {
        let values: Vec<f64> = (0..300 * 2)
            .map(|value| f64::from(file * 1000 + value))
            .collect();
        folder.write(
            &format!("data/walker/rollout_{file:03}.npy"),
            npy(&[300, 2], &values),
        );
    }
    let config = "kind = \"benchmark\"\nname = \"walker\"\nnormalise = { features = \"none\", targets = \"none\" }";
    let dataset = folder.load(config).unwrap();
    // 3 files test, 2 validate, 15 train; about 269 frames are left of each, for 13 windows.
    let [train, validation, test] = sizes(&dataset);
    assert!(
        (13 * 15 - 8..=13 * 15 + 8).contains(&train)
            && (24..=28).contains(&validation)
            && (36..=42).contains(&test)
    );
    let batch = first_batch(&dataset.train, 1);
    // The target is the frame behind the one that is seen, whether that one is seen or not.
    assert!(
        batch
            .targets
            .iter()
            .zip(&batch.x)
            .all(|(target, x)| (target - x - 2.0).abs() < 1e-3)
    );
    let spans = batch.timespans.unwrap();
    assert!(
        spans.iter().all(|span| span.fract().abs() < 1e-6) && spans.iter().any(|span| *span > 1.5)
    );
}

#[test]
fn reviews_are_words() {
    let folder = Folder::new();
    for part in ["train", "test"] {
        for review in 0..10 {
            folder.write(
                &format!("data/imdb/aclImdb/{part}/pos/{review}_9.txt"),
                "A great film.<br />Don't miss it",
            );
            folder.write(
                &format!("data/imdb/aclImdb/{part}/neg/{review}_1.txt"),
                "dull film",
            );
        }
    }
    let dataset = load(&folder, "imdb").unwrap();
    assert_eq!(
        (sizes(&dataset), classes(&dataset), dataset.train.time()),
        ([18, 2, 20], 2, 6)
    );
    let batch = first_batch(&dataset.train, 10);
    let word = |sample: usize, step: usize| &batch.x[(sample * 6 + step) * 16..][..16];
    // Negative reviews come first; `film` is the second word of theirs and the third of a positive one.
    assert_eq!(word(0, 1), word(9, 2));
    assert_ne!(word(0, 0), word(0, 1));
}

#[test]
fn lidar_recordings_are_mirrored() {
    let folder = Folder::new();
    let mut members = Vec::new();
    for recording in 0..29 {
        let scans: Vec<f64> = (0..80 * 3)
            .map(|value| f64::from(value % 3 + recording))
            .collect();
        members.push((format!("x_{recording}.npy"), npy(&[80, 3], &scans)));
        members.push((format!("y_{recording}.npy"), npy(&[80], &[0.5; 80])));
    }
    folder.write(
        "data/lidar/icra2020_imitation_data_packed.npz",
        zip(&members),
    );
    let config = "kind = \"benchmark\"\nname = \"lidar\"\nnormalise = { features = \"none\", targets = \"none\" }";
    let dataset = folder.load(config).unwrap();
    // Three windows of each recording and of its mirror image.
    assert_eq!(sizes(&dataset), [19 * 6, 3 * 6, 7 * 6]);
    let batch = first_batch(&dataset.test, 4);
    // The first tested recording is number 6.
    assert_eq!(
        (&batch.x[..3], batch.targets[0]),
        (&[6.0, 7.0, 8.0][..], 0.5)
    );
    assert_eq!(
        (&batch.x[3 * 96..][..3], batch.targets[96]),
        (&[8.0, 7.0, 6.0][..], -0.5)
    );
    members.truncate(50);
    folder.write(
        "data/lidar/icra2020_imitation_data_packed.npz",
        zip(&members),
    );
    assert!(matches!(
        folder.load(config),
        Err(Error::UnknownColumn { .. })
    ));
}

#[test]
fn atari_frames_are_averaged_in_squares() {
    let folder = Folder::new();
    // As published: sequences to train on and sequences to measure on, which are called `val`.
    for (name, count) in [("train", 20), ("val", 2)] {
        for file in 0..count {
            let frames: Vec<f64> = (0..40 * 8 * 8)
                .map(|at| if at % 8 < 4 { 255.0 } else { 0.0 })
                .collect();
            let actions: Vec<f64> = (0..40).map(|step| f64::from(step % 3)).collect();
            let members = [
                ("obs.npy".to_owned(), npy(&[40, 8, 8, 1], &frames)),
                ("actions.npy".to_owned(), npy(&[40], &actions)),
            ];
            folder.write(
                &format!("data/atari/breakout/{name}_{file}.npz"),
                zip(&members),
            );
        }
    }
    let dataset = load(&folder, "atari").unwrap();
    assert_eq!(
        (sizes(&dataset), dataset.inputs(), classes(&dataset)),
        ([18, 2, 2], 4, 3)
    );
    assert_eq!(first_batch(&dataset.train, 1).x[..4], [1.0, 0.0, 1.0, 0.0]);
}
