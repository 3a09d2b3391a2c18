//! What is known of each published benchmark: where its files are, under which licence, and which number is to be reached.
//!
//! Addresses are those that the papers' own scripts download from (`download_datasets.sh` of the LTC paper's code, `download_dataset.sh` and
//! `duv_physionet.py` of the CfC paper's, `datasets` of the reference package). File names, columns, delimiters and labels were compared with
//! public code that reads the original files; what else a fact rests on stands beside it.

use std::path::Path;

use serde::Serialize;

/// A published benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BenchmarkInfo {
    /// Name in configs, and the folder below `data` unless `path` says otherwise.
    pub name: &'static str,
    /// What is predicted from what.
    pub title: &'static str,
    /// Where it was published.
    pub paper: &'static str,
    /// The published numbers to reach, with their metric.
    pub published: &'static str,
    /// Licence or terms of the files, as far as their publisher states them.
    pub licence: &'static str,
    /// About how much is downloaded, in megabytes.
    pub megabytes: u32,
    /// Which of these facts rest on memory: no public source for them was found when the list was checked.
    pub unverified: &'static [Fact],
    /// What to download.
    pub downloads: &'static [Download],
    /// Files, below the folder, that the loader looks for first.
    pub files: &'static [&'static str],
    /// The configuration that comes with the program; `ncps init` prints it.
    pub config: &'static str,
}

/// A fact of the list that may be unverified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// The licence.
    Licence,
    /// The size.
    Megabytes,
}

impl BenchmarkInfo {
    /// Which of the files that the loader looks for first lie neither in `folder` nor in a folder inside it.
    pub fn lacking(&self, folder: &Path) -> Vec<&'static str> {
        let mut places = vec![folder.to_path_buf()];
        if let Ok(entries) = std::fs::read_dir(folder) {
            places.extend(entries.flatten().map(|entry| entry.path()));
        }
        let is_lacking = |file: &&&str| !places.iter().any(|place| place.join(file).exists());
        self.files.iter().filter(is_lacking).copied().collect()
    }
}

/// A file to download.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Download {
    /// Where it is.
    pub url: &'static str,
    /// What it is called in the folder.
    pub file: &'static str,
    /// SHA-256 that it must have; where none is known, the one of the first download is kept beside it and checked from then on.
    pub sha256: Option<&'static str>,
    /// Whether it is an archive to unpack in the folder.
    pub is_archive: bool,
}

const fn archive(url: &'static str, file: &'static str) -> Download {
    Download {
        url,
        file,
        sha256: None,
        is_archive: true,
    }
}

const fn plain(url: &'static str, file: &'static str) -> Download {
    Download {
        is_archive: false,
        ..archive(url, file)
    }
}

const fn checked(url: &'static str, file: &'static str, sha256: &'static str) -> Download {
    Download {
        sha256: Some(sha256),
        ..plain(url, file)
    }
}

const LTC: &str = "LTC, Hasani et al., AAAI 2021";
const CFC: &str = "CfC, Hasani et al., Nature Machine Intelligence 4, 2022";
const UCI: &str = "UCI Machine Learning Repository, CC BY 4.0";

// The mirror of the PyTorch project; sizes and SHA-256 as several projects record them (the original host is gone).
const MNIST: [Download; 4] = [
    checked(
        "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz",
        "train-images-idx3-ubyte.gz",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    checked(
        "https://ossci-datasets.s3.amazonaws.com/mnist/train-labels-idx1-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    checked(
        "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-images-idx3-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    checked(
        "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-labels-idx1-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
];
const MNIST_FILES: [&str; 4] = [
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
];

/// Lists the published benchmarks that need files of their own.
pub fn benchmarks() -> &'static [BenchmarkInfo] {
    BENCHMARKS
}

static BENCHMARKS: &[BenchmarkInfo] = &[
    BenchmarkInfo {
        name: "cheetah",
        title: "half-cheetah kinematics: forecast the next of 17 observations",
        paper: LTC,
        published: "mean squared error: LTC 2.308, LSTM 2.500",
        licence: "Apache-2.0, with the paper's code",
        megabytes: 4,
        unverified: &[],
        downloads: &[],
        files: &["trace_0000.npy"],
        config: "cheetah",
    },
    BenchmarkInfo {
        name: "occupancy",
        title: "office occupancy from temperature, humidity, light and CO2",
        paper: LTC,
        published: "accuracy: LTC 94.63 %, CT-RNN 94.54 %",
        licence: UCI,
        megabytes: 1,
        unverified: &[Fact::Megabytes],
        downloads: &[archive(
            "https://archive.ics.uci.edu/ml/machine-learning-databases/00357/occupancy_data.zip",
            "occupancy_data.zip",
        )],
        files: &["datatraining.txt", "datatest.txt", "datatest2.txt"],
        config: "occupancy",
    },
    BenchmarkInfo {
        name: "gesture",
        title: "gesture phases from hand and wrist motion, a label at every step",
        paper: LTC,
        published: "accuracy: LTC 69.55 %, CT-GRU 68.31 %",
        licence: UCI,
        megabytes: 17,
        unverified: &[Fact::Licence, Fact::Megabytes],
        downloads: &[archive(
            "https://archive.ics.uci.edu/ml/machine-learning-databases/00302/gesture_phase_dataset.zip",
            "gesture_phase_dataset.zip",
        )],
        files: &["a1_va3.csv"],
        config: "gesture",
    },
    BenchmarkInfo {
        name: "har",
        title: "six human activities from 561 features of a smartphone's sensors",
        paper: LTC,
        published: "accuracy: neural ODE 97.26 %, LTC 95.67 %",
        // The repository's page and the archive's README.txt say different things.
        licence: "UCI Machine Learning Repository, CC BY 4.0; its README.txt forbids commercial use",
        megabytes: 60,
        unverified: &[Fact::Megabytes],
        downloads: &[archive(
            "https://archive.ics.uci.edu/ml/machine-learning-databases/00240/UCI%20HAR%20Dataset.zip",
            "UCI HAR Dataset.zip",
        )],
        files: &["UCI HAR Dataset/train/X_train.txt"],
        config: "har",
    },
    BenchmarkInfo {
        name: "smnist",
        title: "sequential MNIST: a digit from its 28 rows",
        paper: LTC,
        published: "accuracy: LSTM 98.41 %, LTC 97.57 %",
        // As the TensorFlow documentation states it.
        licence: "MNIST, Y. LeCun and C. Cortes, CC BY-SA 3.0",
        megabytes: 12,
        unverified: &[],
        downloads: &MNIST,
        files: &MNIST_FILES,
        config: "smnist",
    },
    BenchmarkInfo {
        name: "traffic",
        title: "cars an hour on a motorway from weather, holiday, weekday and hour",
        paper: LTC,
        published: "mean squared error, standardised: LTC 0.099, LSTM 0.169",
        licence: UCI,
        megabytes: 1,
        unverified: &[Fact::Licence, Fact::Megabytes],
        downloads: &[archive(
            "https://archive.ics.uci.edu/ml/machine-learning-databases/00492/Metro_Interstate_Traffic_Volume.csv.gz",
            "Metro_Interstate_Traffic_Volume.csv.gz",
        )],
        files: &["Metro_Interstate_Traffic_Volume.csv"],
        config: "traffic",
    },
    BenchmarkInfo {
        name: "power",
        title: "a household's active power from six other readings",
        paper: LTC,
        published: "mean squared error, standardised: CT-GRU 0.586, LTC 0.642",
        licence: UCI,
        megabytes: 20,
        unverified: &[Fact::Licence],
        downloads: &[archive(
            "https://archive.ics.uci.edu/ml/machine-learning-databases/00235/household_power_consumption.zip",
            "household_power_consumption.zip",
        )],
        files: &["household_power_consumption.txt"],
        config: "power",
    },
    BenchmarkInfo {
        name: "ozone",
        title: "ozone days from 72 readings of the weather",
        paper: LTC,
        published: "F1: LTC 0.302, LSTM 0.284",
        licence: UCI,
        megabytes: 1,
        unverified: &[Fact::Licence, Fact::Megabytes],
        downloads: &[plain(
            "https://archive.ics.uci.edu/ml/machine-learning-databases/ozone/eighthr.data",
            "eighthr.data",
        )],
        files: &["eighthr.data"],
        config: "ozone",
    },
    BenchmarkInfo {
        name: "person",
        title: "what a person does, from tags that report at irregular times",
        paper: CFC,
        published: "accuracy of the LTC paper's first setting: LTC 85.48 %, CT-GRU 85.27 %",
        licence: UCI,
        megabytes: 21,
        unverified: &[Fact::Licence, Fact::Megabytes],
        downloads: &[plain(
            "https://archive.ics.uci.edu/ml/machine-learning-databases/00196/ConfLongDemo_JSI.txt",
            "ConfLongDemo_JSI.txt",
        )],
        files: &["ConfLongDemo_JSI.txt"],
        config: "person",
    },
    BenchmarkInfo {
        name: "physionet",
        title: "death in hospital from 48 hours of irregular measurements",
        paper: CFC,
        published: "area under the ROC curve: CfC without gate 0.840, PhasedLSTM 0.836",
        // The data set's page names licence and sizes (6,632,372 bytes and 77 kB).
        licence: "PhysioNet Challenge 2012, ODC-By 1.0",
        megabytes: 7,
        unverified: &[],
        downloads: &[
            archive(
                "https://physionet.org/files/challenge-2012/1.0.0/set-a.tar.gz",
                "set-a.tar.gz",
            ),
            plain(
                "https://physionet.org/files/challenge-2012/1.0.0/Outcomes-a.txt",
                "Outcomes-a.txt",
            ),
        ],
        files: &["Outcomes-a.txt", "set-a"],
        config: "physionet",
    },
    BenchmarkInfo {
        name: "walker",
        title: "the next frame of a simulated walker, observed at irregular times",
        paper: CFC,
        published: "mean squared error: CfC-mmRNN 0.617, CfC 0.643, LTC 0.662",
        // The scripts unpack it beside `data/walker`, so the rollouts lie in a folder of the archive.
        licence: "not stated by its publisher (M. Lechner)",
        megabytes: 60,
        unverified: &[Fact::Megabytes],
        downloads: &[archive(
            "https://people.csail.mit.edu/mlechner/datasets/walker.zip",
            "walker.zip",
        )],
        files: &["rollout_000.npy"],
        config: "walker",
    },
    BenchmarkInfo {
        name: "event_smnist",
        title: "a digit from the changes between ink and paper",
        paper: CFC,
        published: "accuracy: CfC-mmRNN 98.09 %, CfC without gate 96.99 %",
        licence: "MNIST, Y. LeCun and C. Cortes, CC BY-SA 3.0",
        megabytes: 12,
        unverified: &[],
        downloads: &MNIST,
        files: &MNIST_FILES,
        config: "event_smnist",
    },
    BenchmarkInfo {
        name: "imdb",
        title: "whether a film review is positive, word by word",
        paper: CFC,
        published: "accuracy: CfC-mmRNN 88.3 %, LSTM 87.3 % (with learned word vectors)",
        licence: "Large Movie Review Dataset (Maas et al. 2011), no licence stated",
        megabytes: 84,
        unverified: &[],
        downloads: &[archive(
            "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
            "aclImdb_v1.tar.gz",
        )],
        files: &["aclImdb/train/pos"],
        config: "imdb",
    },
    BenchmarkInfo {
        name: "lidar",
        title: "lidar collision avoidance: imitate a driver's steering",
        paper: "Lechner et al., ICRA 2020, as packed by the reference package",
        published: "none by this protocol",
        licence: "not stated by its publisher (M. Lechner)",
        megabytes: 9,
        unverified: &[],
        // The SHA-256 that the reference package checks.
        downloads: &[checked(
            "https://github.com/mlech26l/icra_lds/raw/master/icra2020_imitation_data_packed.npz",
            "icra2020_imitation_data_packed.npz",
            "4ee5be974c4ced3308b79f3b74bc4e4cb41f306b35a07b787cbe78fa62896ae0",
        )],
        files: &["icra2020_imitation_data_packed.npz"],
        config: "lidar",
    },
    BenchmarkInfo {
        name: "atari",
        title: "imitate an agent's actions in Breakout from the frames",
        paper: "documentation of the reference package",
        published: "none by this protocol",
        licence: "not stated by its publisher (M. Lechner)",
        megabytes: 600,
        unverified: &[Fact::Megabytes],
        downloads: &[archive(
            "https://people.csail.mit.edu/mlechner/datasets/breakout.zip",
            "breakout.zip",
        )],
        files: &["breakout"],
        config: "atari",
    },
];
