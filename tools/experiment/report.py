# SPDX-License-Identifier: GPL-2.0 OR MIT
"""What is made of rows: tables in a document, CSV, plots."""
import csv
import dataclasses
import os
import re
import subprocess

BEGIN = "<!-- table {} -->"
END = "<!-- end of table -->"


def number(value, digits=0):
    """For a table: 12345.678 is 12,346."""
    return f"{value:,.{digits}f}"


def table(header, rows, left=1):
    """In Markdown. The first `left` columns are words, the others numbers."""
    lines = ["| " + " | ".join(header) + " |",
             "|" + "|".join("---" if i < left else "--:" for i in range(len(header))) + "|"]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def pick(rows, **wanted):
    """Those rows that have all these values."""
    return [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]


def one(rows, **wanted):
    """The only one of them, or None if there is none."""
    found = pick(rows, **wanted)
    if len(found) > 1:
        raise ValueError(f"{len(found)} rows, not one, for {wanted}")
    return found[0] if found else None


def caption(rows, part):
    """What these rows were measured on."""
    machines = sorted({f"Linux {row['linux']}, QEMU {row['qemu']}, gcc {row['cc']}" for row in rows})
    quick = " QUICK=1" if any(row["quick"] for row in rows) else ""
    return f"({'; '.join(machines)}; `make experiment PARTS={part}{quick}`)"


def fill(text, tables):
    """The document with these tables between their markers. Returns it, and the names
    of those that it has no place for; a table that is not given stays as it is."""
    names = re.findall(r"^<!-- table (\S+) -->$", text, re.M)
    if text.count(END) != len(names) or len(set(names)) != len(names):
        raise ValueError(f"each '{BEGIN.format('NAME')}' takes an '{END}', and has a name of its own")
    for name in names:
        if name in tables:
            text = re.sub(rf"(^{re.escape(BEGIN.format(name))}\n).*?(^{re.escape(END)}$)",
                          lambda m, name=name: m.group(1) + "\n" + tables[name].strip() + "\n\n" + m.group(2),
                          text, count=1, flags=re.M | re.S)
    return text, sorted(set(tables) - set(names))


def write_csv(path, rows):
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@dataclasses.dataclass
class Plot:
    """Lines: series is {label: [(x, y), ...]}."""
    name: str                                   # of its files
    title: str
    x: str
    y: str
    series: dict
    log: str = ""                               # logarithmic axes: "x", "y" or "xy"
    extra: str = ""                             # more commands for gnuplot
    dashed: tuple = ()                          # labels drawn as dashed lines: others' figures

    def write(self, folder):
        """As SVG and PNG, with the data beside them."""
        quoted = lambda text: "'" + text.replace("'", "''") + "'"
        data = os.path.join(folder, self.name + ".dat")
        with open(data, "w", encoding="utf-8") as file:
            for label, points in self.series.items():
                file.write(f"# {label}\n" + "".join(f"{x} {y}\n" for x, y in sorted(points)) + "\n\n")
        lines = [f"set title {quoted(self.title)} noenhanced", f"set xlabel {quoted(self.x)} noenhanced",
                 f"set ylabel {quoted(self.y)} noenhanced", "set key outside right noenhanced", "set grid"]
        lines += [f"set logscale {self.log}"] if self.log else []
        lines += [self.extra] if self.extra else []
        curves = [f"{quoted(data)} index {i} title {quoted(label)} with linespoints"
                  + (" dashtype 2" if label in self.dashed else "") for i, label in enumerate(self.series)]
        for terminal, suffix in (("svg size 900,500", "svg"), ("pngcairo size 900,500", "png")):
            lines += [f"set terminal {terminal}", f"set output {quoted(os.path.join(folder, self.name + '.' + suffix))}",
                      "plot " + ", ".join(curves), "unset output"]
        subprocess.run(["gnuplot"], input="\n".join(lines) + "\n", text=True, check=True)
