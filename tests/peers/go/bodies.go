package main

// bodies have a random first half and a second half of zeros, the same as those of the Rust load.
type bodies struct {
	all  [][]byte
	next int
}

func newBodies(size int, seed uint64) *bodies {
	const count = 256
	dice := seed
	// splitmix64
	roll := func() uint64 {
		dice += 0x9e3779b97f4a7c15
		z := dice
		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
		z = (z ^ (z >> 27)) * 0x94d049bb133111eb
		return z ^ (z >> 31)
	}
	b := &bodies{}
	for range count {
		body := make([]byte, size)
		random := (size + 1) / 2
		for at := 0; at < random; at += 8 {
			word := roll()
			for i := 0; i < 8 && at+i < random; i++ {
				body[at+i] = byte(word >> (8 * i))
			}
		}
		b.all = append(b.all, body)
	}
	return b
}

func (b *bodies) take() []byte {
	b.next = (b.next + 1) % len(b.all)
	return b.all[b.next]
}
