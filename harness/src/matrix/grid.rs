//! A table of verdicts, as data.

/// A table: what was found for each row in each column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grid {
    /// What it shows, in a line.
    pub title: String,
    /// What stands above the names of rows; above their groups, if rows have them.
    pub corner: (String, String),
    /// The columns from left to right.
    pub columns: Vec<Column>,
    /// The rows from top to bottom.
    pub rows: Vec<Row>,
    /// Remarks that hold for the whole of it, a line each.
    pub remarks: Vec<String>,
}

/// The head of a column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What there is to add: a version, an address.
    pub detail: Option<String>,
}

/// A row: a name and a cell for each column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// What it belongs to: a version, a kind.
    pub group: Option<String>,
    /// Its name.
    pub name: String,
    /// As many as there are columns; those missing are empty.
    pub cells: Vec<Cell>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    /// The verdict; `None` for plain facts.
    pub mark: Option<Mark>,
    /// A few words; where they are empty, the verdict speaks for itself.
    pub text: String,
    /// The reason or the evidence, in a line or more.
    pub note: Option<String>,
}

/// The verdict of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// As it should be.
    Pass,
    /// A SHOULD was not kept.
    Warn,
    /// A MUST was broken, as a record of known deviations says.
    Known,
    /// A MUST was broken, or it does not work.
    Fail,
    /// The party does not offer it.
    NotOffered,
    /// Not tried, for another reason.
    NotTested,
    /// Tried, without a verdict.
    Error,
}

impl Mark {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Pass,
        Self::Warn,
        Self::Known,
        Self::Fail,
        Self::NotOffered,
        Self::NotTested,
        Self::Error,
    ];

    /// The word in JSON and in text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Known => "known",
            Self::Fail => "fail",
            Self::NotOffered => "not-offered",
            Self::NotTested => "not-tested",
            Self::Error => "error",
        }
    }
}

impl Column {
    /// A column with a name only.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), detail: None }
    }
}

impl Cell {
    /// A verdict that speaks for itself.
    #[must_use]
    pub fn new(mark: Mark) -> Self {
        Self { mark: Some(mark), ..Self::default() }
    }

    /// A fact without a verdict.
    #[must_use]
    pub fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// With these words in place of the verdict's.
    #[must_use]
    pub fn with_text(self, text: impl Into<String>) -> Self {
        Self { text: text.into(), ..self }
    }

    /// With a reason or evidence.
    #[must_use]
    pub fn with_note(self, note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..self }
    }

    /// What is shown in the cell: the words, else the verdict's.
    #[must_use]
    pub fn shown(&self) -> &str {
        match (self.text.as_str(), self.mark) {
            ("", Some(mark)) => mark.name(),
            (text, _) => text,
        }
    }
}

impl Row {
    /// The cell in a column, where there is one.
    #[must_use]
    pub fn cell(&self, column: usize) -> Option<&Cell> {
        self.cells.get(column)
    }
}

/// A note and the places that it belongs to: these rows in these columns.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Note<'g> {
    pub(super) rows: Vec<&'g str>,
    pub(super) columns: Vec<&'g str>,
    pub(super) mark: Option<Mark>,
    pub(super) text: &'g str,
}

impl Grid {
    /// Whether rows have groups.
    #[must_use]
    pub fn is_grouped(&self) -> bool {
        self.rows.iter().any(|row| row.group.is_some())
    }

    /// The notes, row by row; what several cells share is told once.
    pub(super) fn notes(&self) -> Vec<Note<'_>> {
        let mut notes: Vec<Note<'_>> = Vec::new();
        for row in &self.rows {
            let mut own: Vec<Note<'_>> = Vec::new();
            for (column, cell) in self.columns.iter().zip(&row.cells) {
                let Some(text) = cell.note.as_deref() else { continue };
                match own.iter_mut().find(|note| note.text == text && note.mark == cell.mark) {
                    Some(note) => note.columns.push(&column.name),
                    None => own.push(Note {
                        rows: vec![&row.name],
                        columns: vec![&column.name],
                        mark: cell.mark,
                        text,
                    }),
                }
            }
            for note in own {
                let same = |told: &&mut Note<'_>| {
                    told.text == note.text && told.mark == note.mark && told.columns == note.columns
                };
                match notes.iter_mut().find(same) {
                    Some(told) => told.rows.extend(note.rows),
                    None => notes.push(note),
                }
            }
        }
        notes
    }
}

impl Note<'_> {
    /// The places: rows, then columns.
    pub(super) fn place(&self) -> String {
        format!("{}, {}", self.rows.join(", "), self.columns.join(", "))
    }
}
