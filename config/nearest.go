package config

// nearest returns the known word that a misspelt one most likely stands for, or
// "" if none is near: at most a third of its letters, or one, may have to change.
func nearest(wrong string, known []string) string {
	best, found := max(2, len([]rune(wrong))/3+1), ""
	for _, k := range known {
		if d := editDistance(wrong, k); d < best {
			best, found = d, k
		}
	}
	return found
}

// editDistance is the number of letters to insert, delete or replace to turn a
// into b (Levenshtein). Words over 64 letters are simply far apart.
func editDistance(a, b string) int {
	x, y := []rune(a), []rune(b)
	if len(x) > 64 || len(y) > 64 {
		return 64
	}
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i, p := range x {
		diagonal := row[0]
		row[0] = i + 1
		for j, q := range y {
			cost := diagonal
			if p != q {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(y)]
}
