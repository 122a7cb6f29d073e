"""A hospital's database in the form of OMOP (CDM 5.4), as far as tests need it: patients who never lived."""

# ruff: noqa: S608 (all that stands in these texts is of this file)

BRAIN_TUMOUR, FEMALE, MALE = 443588, 8532, 8507
TABLES = (
    "CREATE TABLE person (person_id INTEGER PRIMARY KEY, gender_concept_id INTEGER, year_of_birth INTEGER, "
    "person_source_value TEXT)",
    "CREATE TABLE condition_occurrence (person_id INTEGER, condition_concept_id INTEGER, "
    "condition_start_date DATE)",
    "CREATE TABLE procedure_occurrence (person_id INTEGER, procedure_date DATE, procedure_source_value TEXT)",
)
QUERY = f"""-- who had an MR of the brain, and whether a tumour was found by then
SELECT procedure_source_value AS accession_number,
       CASE WHEN EXISTS (
           SELECT 1 FROM condition_occurrence c
           WHERE c.person_id = p.person_id AND c.condition_concept_id = {BRAIN_TUMOUR}
       ) THEN 'tumour' ELSE 'none' END AS label,
       2020 - year_of_birth AS age,
       CASE gender_concept_id WHEN {FEMALE} THEN 'f' WHEN {MALE} THEN 'm' END AS sex
FROM procedure_occurrence JOIN person p USING (person_id)
ORDER BY 1;
"""


def patients(count: int) -> list[str]:
    """Return the statements that add patients HOSP0001 ..., with a study ACC101 ... each."""
    return [statement for number in range(1, 1 + count) for statement in patient(number)]


def patient(number: int, name: str = "", accession: str = "") -> list[str]:
    """Return the statements that add one patient; every second has a tumour."""
    sex = FEMALE if number % 3 else MALE
    name, accession = name or f"HOSP{number:04}", accession or f"ACC{100 + number}"
    found = [
        f"INSERT INTO person VALUES ({number}, {sex}, {1940 + number}, '{name}')",
        f"INSERT INTO procedure_occurrence VALUES ({number}, '2020-03-10', '{accession}')",
    ]
    if number % 2:
        found.append(f"INSERT INTO condition_occurrence VALUES ({number}, {BRAIN_TUMOUR}, '2020-02-01')")
    return found
