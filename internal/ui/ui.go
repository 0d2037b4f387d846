// Package ui shows progress on stderr and writes what a run leaves for other programs to read.
package ui

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bytes writes a size in the largest binary unit that keeps it readable.
func Bytes(n int64) string {
	const unit = 1024
	f, names := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for f >= unit && i < len(names)-1 {
		f, i = f/unit, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.2f %s", f, names[i])
}

// Duration writes seconds as 3d04h, 1h02m, 3m04s, 15.2s or 35ms.
func Duration(s float64) string {
	n := int(min(s, 1e15) + 0.5)
	switch {
	case n >= 48*3600:
		return fmt.Sprintf("%dd%02dh", n/86400, n/3600%24)
	case n >= 3600:
		return fmt.Sprintf("%dh%02dm", n/3600, n/60%60)
	case s >= 59.95:
		return fmt.Sprintf("%dm%02ds", n/60, n%60)
	case s >= 0.9995:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", s), ".0") + "s"
	case s >= 0.00095:
		return fmt.Sprintf("%.0fms", 1000*s)
	case s > 0:
		return "under 1ms"
	}
	return "0s"
}

// Table writes rows in columns, numbers to the right. Columns that a terminal has no room for follow in a table below,
// beside the first one again.
func Table(w io.Writer, rows [][]string) { KeyedTable(w, 1, rows) }

// KeyedTable is a Table whose rows are told apart by more than one column: the first ones stand again in a table below.
func KeyedTable(w io.Writer, keys int, rows [][]string) { tables(w, Columns(w), keys, rows) }

// tables is KeyedTable for so many letters in a line; 0 is any number.
func tables(w io.Writer, room, keys int, rows [][]string) {
	var width []int
	for _, r := range rows {
		for i, c := range r {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	keys = min(keys, len(width))
	for from := keys; from == keys && width != nil || from < len(width); {
		to, line := from, -2
		for _, n := range width[:keys] {
			line += 2 + n
		}
		for to < len(width) && (room == 0 || to == from || line+2+width[to] <= room) {
			line, to = line+2+width[to], to+1
		}
		if from > keys {
			fmt.Fprintln(w)
		}
		for _, r := range rows {
			fmt.Fprintln(w, strings.TrimRight(tableRow(r, width, keys, from, to), " "))
		}
		from = max(to, keys+1)
	}
}

// tableRow is the first cells of a row, its keys, and those in columns [from, to).
func tableRow(r []string, width []int, keys, from, to int) string {
	pad := func(i int) string { return strings.Repeat(" ", width[i]-utf8.RuneCountInString(r[i])) }
	line := r[0] + pad(0)
	for i := 1; i < min(to, len(r)); i++ {
		if i < keys || i >= from {
			line += "  " + pad(i) + r[i]
		}
	}
	return line
}

// Count is a number of things with what one of them is called.
func Count[N int | int64](n N, thing string) string {
	return Several(strconv.FormatInt(int64(n), 10), thing)
}

// Several is a number of things, given as text, with what one of them is called: 1 window, 3 windows.
func Several(n, thing string) string {
	if n == "1" {
		return "1 " + thing
	}
	return n + " " + thing + "s"
}
