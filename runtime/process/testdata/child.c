// A trivial child: it exits at once, or with an argument waits to be killed.
#include <unistd.h>

int main(int argc, char **argv) {
	(void)argv;
	if (argc > 1) pause();
	return 0;
}
