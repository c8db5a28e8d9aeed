// SPDX-License-Identifier: GPL-2.0
/*
 * Committed images: making and dropping them.
 */
#include <linux/rmap.h>
#include <linux/slab.h>

#include "core/diff.h"
#include "module/compat.h"
#include "module/image.h"
#include "module/log.h"
#include "module/segment.h"
#include "module/tracking.h"

/* The write hook can have truncation free some; only recovery needs it here and now. */
static gfp_t gfp_for(enum rvm_memory_use use)
{
	return use == RVM_MEMORY_STORE ? GFP_KERNEL_ACCOUNT | __GFP_NORETRY | __GFP_NOWARN :
					 GFP_KERNEL_ACCOUNT;
}

struct rvm_image *rvm_image_make(struct rvm_segment *segment, struct folio *folio,
				 enum rvm_memory_use use)
{
	struct rvm_image *image = xa_load(&segment->images, folio->index);
	struct rvm_log *log = segment->log;

	if (image)
		return image;
	if (!rvm_memory_charge(log, RVM_IMAGE_PAGES, use))
		return NULL;
	image = kmalloc(sizeof(*image), gfp_for(use));
	if (!image)
		goto err_charge;
	image->page = alloc_page(gfp_for(use));
	if (!image->page)
		goto err_image;
	image->segment = segment;
	image->index = folio->index;
	image->folio = folio;
	image->first = RVM_NOWHERE;
	image->writing = RVM_NOWHERE;
	image->cold = false;
	INIT_LIST_HEAD(&image->hot);
	image->owner = NULL;
	image->changed = false;
	image->told = NULL;
	copy_page(rvm_image_committed(image), rvm_image_current(image));
	if (xa_reserve(&segment->images, folio->index, gfp_for(use)))
		goto err_page;
	folio_get(folio);
	folio_mark_dirty(folio);
	spin_lock(&log->list_lock);
	list_add_tail(&image->node, &log->loose);
	segment->image_count++;
	spin_unlock(&log->list_lock);
	/* Last: a commit that finds it uses all of it.  The slot is reserved. */
	xa_store(&segment->images, folio->index, image, 0);
	return image;

err_page:
	__free_page(image->page);
err_image:
	kfree(image);
err_charge:
	rvm_memory_uncharge(log, RVM_IMAGE_PAGES);
	return NULL;
}

struct rvm_image *rvm_image_find_next(struct rvm_segment *segment, u64 *offset, u64 end)
{
	unsigned long index = *offset >> PAGE_SHIFT;
	struct rvm_image *image;

	image = xa_find(&segment->images, &index, (end - 1) >> PAGE_SHIFT, XA_PRESENT);
	if (image)
		*offset = max(*offset, (u64)index << PAGE_SHIFT);
	return image;
}

u32 rvm_image_length(const struct rvm_image *image)
{
	u64 left = READ_ONCE(image->segment->size) - ((u64)image->index << PAGE_SHIFT);

	return min_t(u64, left, PAGE_SIZE);
}

bool rvm_image_changed(struct rvm_image *image)
{
	u32 size = rvm_image_length(image);

	return rvm_diff_first(rvm_image_committed(image), rvm_image_current(image), 0, size) < size;
}

void rvm_image_first_logged(struct rvm_image *image, u64 position, u64 sequence)
{
	struct rvm_log *log = image->segment->log;

	image->cold = false;
	image->first = position;
	image->first_sequence = sequence;
	if (image->writing != RVM_NOWHERE)
		return;		/* truncation has it, and will see */
	spin_lock(&log->list_lock);
	list_move_tail(&image->node, &log->logged);
	spin_unlock(&log->list_lock);
}

static void drop(struct rvm_image *image)
{
	struct rvm_log *log = image->segment->log;

	if (!list_empty(&image->hot))
		rvm_tracking_drop(image);
	if (*rvm_image_recent(image->segment, image->index) == image)
		*rvm_image_recent(image->segment, image->index) = NULL;
	xa_erase(&image->segment->images, image->index);
	spin_lock(&log->list_lock);
	list_del(&image->node);
	image->segment->image_count--;
	spin_unlock(&log->list_lock);
	folio_put(image->folio);
	if (image->told)
		__free_page(image->told);
	__free_page(image->page);
	kfree(image);
	rvm_memory_uncharge(log, RVM_IMAGE_PAGES);
}

/*
 * The folio's lock keeps write faults out after its page-table entries have
 * been write-protected.  Whoever holds a reference that is not explained may
 * write without a fault (direct I/O into the page): then it isn't clean.
 */
void rvm_image_clean(struct rvm_image *image)
{
	struct rvm_log *log = image->segment->log;
	struct folio *folio = image->folio;
	bool clean;

	folio_get(folio);
	folio_lock(folio);
	folio_mkclean(folio);
	mutex_lock(&log->commit_lock);
	clean = image->first == RVM_NOWHERE &&
		folio_ref_count(folio) == 3 + rvm_compat_mapcount(folio) &&
		!memcmp(rvm_image_committed(image), rvm_image_current(image), PAGE_SIZE);
	if (clean) {
		folio_clear_dirty_for_io(folio);
		drop(image);
	} else {
		folio_mark_dirty(folio);
	}
	mutex_unlock(&log->commit_lock);
	folio_unlock(folio);
	folio_put(folio);
}

void rvm_image_drop_all(struct rvm_segment *segment)
{
	struct rvm_image *image;
	unsigned long index;

	xa_for_each(&segment->images, index, image) {
		struct folio *folio = image->folio;

		folio_get(folio);
		folio_lock(folio);
		folio_clear_dirty_for_io(folio);
		drop(image);
		folio_unlock(folio);
		folio_put(folio);
	}
}
